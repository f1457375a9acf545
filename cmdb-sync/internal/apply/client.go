// Package apply speaks to the control plane's API: it lists the hosts that are
// there and sends what a plan changes, on the revision that the plan was made
// against. Requests are tried again where that is safe, with back-off and by
// what Retry-After says; answers are bounded; the token is never shown.
package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/internal/version"
)

// Bounds of a conversation.
const (
	maxAnswer     = 64 << 20 // bytes of one answer
	maxError      = 64 << 10 // bytes of an answer that is an error
	maxRetryAfter = time.Minute
	tries         = 5
)

// ErrStale is that the hosts have changed since the plan was made.
var ErrStale = errors.New("the hosts have changed since the plan was made")

// StatusError is an answer that is no success.
type StatusError struct {
	Status  int
	Reason  string // one of a fixed list
	Message string
	Details []Detail
}

// Detail is one mistake in what was sent.
type Detail struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Error is the answer's own text, with every detail.
func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the control plane answers %d", e.Status)
	for _, s := range []string{e.Reason, e.Message} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	for i, d := range e.Details {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Details)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", d.Path, d.Message)
	}
	return b.String()
}

// Config is whom to speak to.
type Config struct {
	Server    string // URL
	TokenFile string // may be empty
	Timeout   time.Duration
	// MinWait and MaxWait bound the back-off between tries; 0 is the default,
	// 200 ms and 5 s.
	MinWait, MaxWait time.Duration
}

// Client speaks to one control plane. It is not safe for concurrent use.
type Client struct {
	config   Config
	http     *retryablehttp.Client
	interner *host.Interner
	cached   *Hosts
	tries    int // of the last request
}

// New makes a client. Close frees its connections.
func New(c Config, log *slog.Logger) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // the control plane is not behind one that happens to be set
	h := retryablehttp.NewClient()
	h.HTTPClient = &http.Client{
		Transport: transport, Timeout: c.Timeout,
		// A token goes nowhere but where it was configured for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	h.Logger = leveled{log}
	h.RetryMax = tries - 1
	h.RetryWaitMin, h.RetryWaitMax = 200*time.Millisecond, 5*time.Second
	if c.MinWait > 0 {
		h.RetryWaitMin = c.MinWait
	}
	if c.MaxWait > 0 {
		h.RetryWaitMax = c.MaxWait
	}
	h.CheckRetry = checkRetry
	h.ErrorHandler = retryablehttp.PassthroughErrorHandler
	client := &Client{config: c, http: h, interner: host.NewInterner()}
	h.RequestLogHook = func(_ retryablehttp.Logger, _ *http.Request, retry int) { client.tries = retry + 1 }
	return client
}

// Close frees idle connections.
func (c *Client) Close() { c.http.HTTPClient.CloseIdleConnections() }

// checkRetry is the library's policy, but for a server that wants to be left
// alone for longer than a run should hang.
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if resp != nil {
		if s, parse := strconv.Atoi(resp.Header.Get("Retry-After")); parse == nil && time.Duration(s)*time.Second > maxRetryAfter {
			return false, nil
		}
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// leveled lets the library log its tries, which are no errors of ours yet.
type leveled struct{ log *slog.Logger }

func (l leveled) Error(msg string, kv ...any) { l.log.Debug("control plane: "+msg, kv...) } //nolint:sloglint // the library's own words
func (l leveled) Warn(msg string, kv ...any)  { l.log.Debug("control plane: "+msg, kv...) } //nolint:sloglint // the library's own words
func (l leveled) Info(msg string, kv ...any)  { l.log.Debug("control plane: "+msg, kv...) } //nolint:sloglint // the library's own words
func (l leveled) Debug(string, ...any)        {}

// call sends a request and decodes its answer into out. The error is a
// *StatusError where there was an answer.
func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.config.Server, "/")+path, body)
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "outrigger-cmdb-sync/"+version.String())
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.config.TokenFile != "" {
		token, err := os.ReadFile(c.config.TokenFile)
		if err != nil {
			return fmt.Errorf("controlplane.tokenFile: %w", err)
		}
		value := strings.TrimSpace(string(token))
		if value == "" || strings.ContainsAny(value, " \r\n\t\x00") {
			return fmt.Errorf("controlplane.tokenFile: %s does not hold one token", c.config.TokenFile)
		}
		req.Header.Set("Authorization", "Bearer "+value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("control plane %s: %w", c.config.Server, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("control plane: reading the answer of %s %s: %w", method, path, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("control plane: the answer of %s %s has more than %d bytes", method, path, maxAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("control plane: the answer of %s %s is not what was asked for (%s): %w", method, path, beginning(data), err)
	}
	return nil
}

// statusError reads an answer that is no success; it may be from anything that
// listens there.
func statusError(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("control plane: reading the answer %d: %w", resp.StatusCode, err)
	}
	e := &StatusError{Status: resp.StatusCode}
	var doc struct {
		Error, Reason string
		Details       []Detail
	}
	if json.Unmarshal(data, &doc) == nil {
		e.Message, e.Reason, e.Details = doc.Error, doc.Reason, doc.Details
	} else {
		e.Message = beginning(data)
	}
	return e
}

// beginning is what an answer looks like, in a line.
func beginning(data []byte) string {
	text := strings.Join(strings.Fields(string(bytes.ToValidUTF8(data[:min(len(data), 120)], nil))), " ")
	return strconv.Quote(text)
}
