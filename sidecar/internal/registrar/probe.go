package registrar

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/grpchealth"
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

// GRPC is a probe that asks the gRPC health service at address (host:port) for
// the service; empty: for the server as a whole. SERVING is healthy. dial
// connects and speaks TLS, with HTTP/2 agreed on; nil: plain text.
func GRPC(address, service string, dial func(ctx context.Context, network, address string) (net.Conn, error)) Probe {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	target := grpchealth.Target{
		Address: address, Service: service,
		Dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", address) },
	}
	return func(ctx context.Context) error { return grpchealth.Check(ctx, target) }
}

// HTTP is a probe that gets url. A status from 200 to 399 is healthy; a
// redirect is not followed.
//
// Each probe makes its own connection: a kept one would not notice that the
// app no longer accepts any. The environment's proxy settings are not
// followed, for the app's own http_proxy may well point at this sidecar.
func HTTP(url string) Probe { return get(url, &http.Transport{}) }

// HTTP2 is HTTP for an app that speaks HTTP/2 alone, without TLS.
func HTTP2(url string) Probe {
	t := &http.Transport{Protocols: &http.Protocols{}}
	t.Protocols.SetUnencryptedHTTP2(true)
	return get(url, t)
}

// HTTPS is HTTP for an https URL: dial connects and speaks TLS.
func HTTPS(url string, dial func(ctx context.Context, network, address string) (net.Conn, error)) Probe {
	return get(url, &http.Transport{DialTLSContext: dial})
}

func get(url string, t *http.Transport) Probe {
	t.DisableKeepAlives, t.MaxResponseHeaderBytes = true, 64<<10
	client := &http.Client{
		Transport: t,
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
