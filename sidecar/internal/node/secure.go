package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// security is the node's TLS: the files that it is made of, and what is in
// force. It is changed by who changes the configuration, alone.
type security struct {
	files     *secure.Files
	listeners map[string]*secure.Listener // by direction
	// clients are by their content, so that a cluster whose TLS stays as it is
	// keeps its connections.
	clients map[string]*secure.Client
}

func newSecurity(log *slog.Logger, r prometheus.Registerer) *security {
	m := secure.NewMetrics(r)
	t := &security{files: secure.NewFiles(log, m), listeners: map[string]*secure.Listener{}}
	for _, direction := range []string{middleware.Inbound, middleware.Outbound, middleware.Gateway} {
		t.listeners[direction] = secure.NewListener(direction, m)
	}
	return t
}

// securityPlan is the TLS of a configuration, of which everything was read.
type securityPlan struct {
	listeners map[string]secure.ServerOptions
	clients   map[string]*secure.Client
	files     []string
}

// prepare reads what a configuration needs that is not read yet. Nothing that is
// in force is touched.
func (t *security) prepare(c *config.Config) (*securityPlan, error) {
	p := &securityPlan{listeners: map[string]secure.ServerOptions{}, clients: map[string]*secure.Client{}, files: c.TLSFiles()}
	var errs []error
	for direction, l := range map[string]config.ListenerTLS{
		middleware.Inbound: c.TLS.Inbound, middleware.Outbound: c.TLS.Outbound, middleware.Gateway: c.TLS.Gateway,
	} {
		o, err := t.serverOptions(c, l)
		if err != nil {
			errs = append(errs, fmt.Errorf("tls.%s: %w", direction, err))
		}
		p.listeners[direction] = o
	}
	for path, u := range c.ClientsTLS() {
		key := clientKey(c, u)
		if p.clients[key] != nil {
			continue
		}
		if p.clients[key] = t.clients[key]; p.clients[key] != nil {
			continue
		}
		client, err := t.newClient(c, u)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		p.clients[key] = client
	}
	return p, errors.Join(errs...)
}

// commit puts a plan in force: the next handshakes are by it.
func (t *security) commit(p *securityPlan) {
	for direction, o := range p.listeners {
		t.listeners[direction].Set(o)
	}
	t.clients = p.clients
	t.files.Retain(p.files)
}

func (t *security) serverOptions(c *config.Config, l config.ListenerTLS) (secure.ServerOptions, error) {
	o := secure.ServerOptions{Mode: secure.Mode(l.Mode), MinVersion: l.MinVersion.Number()}
	for _, k := range l.Certificates {
		pair, err := t.files.KeyPair(c.Path(k.Cert), c.Path(k.Key))
		if err != nil {
			return o, err
		}
		o.Certificates = append(o.Certificates, pair)
	}
	if l.Clients != nil {
		bundle, err := t.files.Bundle(c.Path(l.Clients.CA))
		if err != nil {
			return o, err
		}
		o.Clients, o.Require = bundle, l.Clients.Require
	}
	return o, nil
}

func (t *security) newClient(c *config.Config, u *config.UpstreamTLS) (*secure.Client, error) {
	o := secure.ClientOptions{ServerName: u.ServerName, Identities: u.Identities, InsecureSkipVerify: u.InsecureSkipVerify}
	if u.CA != "" {
		bundle, err := t.files.Bundle(c.Path(u.CA))
		if err != nil {
			return nil, err
		}
		o.Roots = bundle
	}
	if u.Cert != "" {
		pair, err := t.files.KeyPair(c.Path(u.Cert), c.Path(u.Key))
		if err != nil {
			return nil, err
		}
		o.Certificate = pair
	}
	return secure.NewClient(o), nil
}

// clientKey is the same for what comes to the same.
func clientKey(c *config.Config, u *config.UpstreamTLS) string {
	resolved := *u
	resolved.CA, resolved.Cert, resolved.Key = c.Path(u.CA), c.Path(u.Cert), c.Path(u.Key)
	key, err := json.Marshal(resolved)
	if err != nil {
		return fmt.Sprintf("%+v", resolved) // strings alone: it does not happen
	}
	return string(key)
}

// client is what a configuration in force says; nil: plain text.
func (t *security) client(c *config.Config, u *config.UpstreamTLS) *secure.Client {
	if u == nil {
		return nil
	}
	return t.clients[clientKey(c, u)]
}

// dialTLS connects to the app for a health check, as u says.
func (s *Node) dialTLS(c *config.Config, u *config.UpstreamTLS, protocol string) func(ctx context.Context, network, address string) (net.Conn, error) {
	client := s.tls.client(c, u)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		var above *tls.Conn
		if above, err = client.Handshake(ctx, nc, address, protocol); err != nil {
			_ = nc.Close()
			return nil, err
		}
		return above, nil
	}
}
