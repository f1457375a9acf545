package registrar

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Probe asks the app once whether it can serve; nil says that it can. It
// returns when its context ends.
type Probe func(ctx context.Context) error

// maxProbeBody is how much of a health answer is read before its connection is
// closed; nobody looks at it.
const maxProbeBody = 64 << 10

// TCP is a probe that connects to address (host:port) and hangs up.
func TCP(address string) Probe {
	var dialer net.Dialer
	return func(ctx context.Context) error {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return conn.Close()
	}
}

// HTTP is a probe that gets url. A status from 200 to 399 is healthy; a
// redirect is not followed.
//
// Each probe makes its own connection: a kept one would not notice that the
// app no longer accepts any. The environment's proxy settings are not
// followed, for the app's own http_proxy may well point at this sidecar.
func HTTP(url string) Probe {
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return fmt.Errorf("get %s: %w", url, err)
		}
		req.Header.Set("User-Agent", "outrigger-health")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxProbeBody)); err != nil {
			return fmt.Errorf("get %s: read body: %w", url, err)
		}
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("get %s: status %d", url, resp.StatusCode)
		}
		return nil
	}
}
