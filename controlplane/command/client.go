package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
)

const (
	// DefaultServer is where the API of a control plane is that was configured
	// nothing else.
	DefaultServer = "http://127.0.0.1:18080"
	// ServerVariable is the environment variable that says otherwise.
	ServerVariable = "OUTRIGGER_SERVER"

	requestTimeout = time.Minute
	maxAnswer      = 64 << 20 // bytes
)

// client speaks to the API of a running control plane.
type client struct {
	server string
	http   *http.Client
}

// withServer gives a command the flag that says where the API is.
func withServer(c *cobra.Command, server *string) *cobra.Command {
	def := DefaultServer
	if env := os.Getenv(ServerVariable); env != "" {
		def = env
	}
	c.Flags().StringVar(server, "server", def, "`URL` of the control plane's API; the environment variable "+ServerVariable+" sets the default")
	return c
}

func newClient(server string) (*client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, run.Usage(fmt.Errorf("--server: %q is not the URL of a server: write it as in %s", server, DefaultServer))
	}
	return &client{
		server: u.Scheme + "://" + u.Host,
		http:   &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
	}, nil
}

// call makes a request. What is sent and received is JSON; a nil in sends
// nothing. An answer that is no success is an *api.Error.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("User-Agent", "controlplane/"+version.String())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	if resp.StatusCode != http.StatusOK {
		e := &api.Error{Status: resp.StatusCode}
		if json.Unmarshal(data, e) != nil || e.Message == "" {
			return fmt.Errorf("%s answers %s to %s: is that the control plane's API?", c.server, resp.Status, path)
		}
		return e
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s answers to %s what is not understood: %w; is that the control plane's API?", c.server, path, err)
	}
	return nil
}

// unreachable says what to do about a server that does not answer.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	const advice = "start it with \"controlplane run\", or say where its API is with --server or " + ServerVariable
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("the control plane at %s cannot be reached (%w): %s", c.server, op.Err, advice)
	}
	return fmt.Errorf("the control plane at %s does not answer (%w): %s", c.server, err, advice)
}
