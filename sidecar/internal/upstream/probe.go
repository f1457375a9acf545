package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// endpointCheck is what a check has to know of an endpoint.
type endpointCheck struct {
	address string // that is checked
	host    string // to ask for; empty: what the check itself says
	dialer  *dialer
	tls     *secure.Client // nil: plain text
}

func newEndpointCheck(h *host, g *EndpointConfig) endpointCheck {
	e := endpointCheck{address: h.address, host: g.HealthHost, dialer: &h.dialer, tls: h.tls}
	if g.HealthPort == 0 {
		return e
	}
	name, _, err := net.SplitHostPort(h.address)
	if err != nil {
		return e
	}
	if h.state.checkDialer == nil || h.state.checkPort != g.HealthPort {
		e.address = net.JoinHostPort(name, strconv.Itoa(int(g.HealthPort)))
		d := newDialer(e.address, h.refuse)
		h.state.checkDialer, h.state.checkPort = &d, g.HealthPort
	}
	e.dialer = h.state.checkDialer
	e.address = e.dialer.address
	return e
}

// prober checks an endpoint once, over a connection of its own; nil says that it
// is well.
type prober func(context.Context, endpointCheck) error

func newProber(cluster string, spoken registry.Protocol, h *Health) prober {
	switch {
	case h.HTTP != nil:
		if h.HTTP.Protocol != registry.ProtocolUndeclared {
			spoken = h.HTTP.Protocol
		}
		if spoken == registry.ProtocolHTTP2 || spoken == registry.ProtocolGRPC {
			return h.HTTP.probeHTTP2
		}
		return h.HTTP.probe
	case h.GRPC != nil:
		authority := h.GRPC.Authority
		if authority == "" {
			authority = cluster
		}
		return h.GRPC.prober(authority)
	}
	return probeTCP
}

func probeTCP(ctx context.Context, e endpointCheck) error {
	nc, err := e.dial(ctx)
	if err != nil {
		return err
	}
	return nc.Close()
}

// badStatus is an answer that is not a good one.
type badStatus struct{ status int }

// Error is what was answered.
func (b badStatus) Error() string { return fmt.Sprintf("answered %d", b.status) }

// atOnce reports a failure that needs no other to count.
func atOnce(h *Health, err error) bool {
	var b badStatus
	return h.HTTP != nil && h.HTTP.StrictStatus && errors.As(err, &b)
}

// maxCheckAnswer bounds what is read of the answer to a check.
const maxCheckAnswer = 64 << 10

func (c *HTTPCheck) probe(ctx context.Context, e endpointCheck) error {
	nc, err := e.dial(ctx, secure.ProtoHTTP1)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	req, err := c.request(e)
	if err != nil {
		return err
	}
	if err := req.Write(nc); err != nil {
		return err
	}
	r := bufio.NewReader(io.LimitReader(nc, maxCheckAnswer))
	for range maxInterim {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		switch {
		case c.expects(res.StatusCode):
			return nil
		case res.StatusCode >= http.StatusOK:
			return badStatus{res.StatusCode}
		}
	}
	return errors.New("too many interim responses")
}

// request is what is asked.
func (c *HTTPCheck) request(e endpointCheck) (*http.Request, error) {
	target, err := url.ParseRequestURI(c.Path)
	if err != nil {
		return nil, err // Validate has seen to it
	}
	host := e.host
	for _, h := range []string{c.Host, e.address} {
		if host == "" {
			host = h
		}
	}
	return &http.Request{
		Method: c.Method, URL: &url.URL{Scheme: e.scheme(), Host: e.address, Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery},
		Host: host, Header: http.Header{"User-Agent": {"outrigger-health"}}, Close: true,
	}, nil
}

// probeHTTP2 is probe over HTTP/2.
func (c *HTTPCheck) probeHTTP2(ctx context.Context, e endpointCheck) error {
	nc, err := e.dial(ctx, secure.ProtoHTTP2)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	req, err := c.request(e)
	if err != nil {
		return err
	}
	// To net/http the connection is a plain one: TLS, where it is spoken, is below.
	t := &http.Transport{
		Protocols: &http.Protocols{}, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil },
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	req.URL.Scheme = "http"
	res, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if !c.expects(res.StatusCode) {
		return badStatus{res.StatusCode}
	}
	return nil
}

func (c *GRPCCheck) prober(authority string) prober {
	return func(ctx context.Context, e endpointCheck) error {
		name := authority
		if e.host != "" {
			name = e.host
		}
		conn, err := grpc.NewClient(
			"passthrough:///"+e.address,
			grpc.WithTransportCredentials(e.credentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.dialer.dial(ctx) }),
			grpc.WithAuthority(name),
			grpc.WithUserAgent("outrigger-health"),
			grpc.WithDisableServiceConfig(),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxCheckAnswer)),
		)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: c.Service})
		if err != nil {
			return err
		}
		if res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			return fmt.Errorf("answered %s", res.GetStatus())
		}
		return nil
	}
}
