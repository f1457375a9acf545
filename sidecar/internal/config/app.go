package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// defaultAppAddress is where an app is that the file does not say more of.
const defaultAppAddress = "127.0.0.1:8080"

// App is the app that the sidecar stands beside.
type App struct {
	Name      string
	Version   string
	Address   string // short for one http port
	Ports     []Port // after Load never empty
	Health    Health
	Advertise string // what is registered for the one port, where it differs from what is listened on
	// TLS is spoken to the app on every port that does not say otherwise; nil:
	// plain text.
	TLS *UpstreamTLS `yaml:"tls"`
}

// SetDefaults is the defaults of an app's keys.
func (a *App) SetDefaults() {
	a.Health = Health{Interval: 2 * time.Second, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3}
}

// Port is one port of the app.
type Port struct {
	Name string // what the service's port is joined with
	// Protocol is http, http2 or grpc; tcp is passed through as it is; empty:
	// undeclared, HTTP in the version that the client speaks.
	Protocol registry.Protocol
	Address  string // of the app
	// Listen is where the mesh's requests for it come in; the first port's
	// default is listen.inbound.
	Listen string
	// Advertise is what is registered, ip:port; empty: what Listen was bound
	// to.
	Advertise string
	TLS       *UpstreamTLS `yaml:"tls"` // nil: as app.tls says
}

// Health is how the app is checked: over HTTP, TCP or gRPC, and by a connection
// to its first port where none is asked for.
type Health struct {
	HTTP string `yaml:"http"` // a path on the app's first port, or an http:// URL
	TCP  TCPCheck
	GRPC *GRPCCheck `yaml:"grpc"`
	Exec conf.Node

	Interval       time.Duration // between the end of a check and the next
	Timeout        time.Duration // of one check
	HealthyAfter   int           // good checks in a row
	UnhealthyAfter int           // bad checks in a row
}

// TCPCheck is true for the app's first port, or another address.
type TCPCheck struct {
	On      bool
	Address string // empty: the app's first port
}

// UnmarshalConf reads true, false or host:port.
func (t *TCPCheck) UnmarshalConf(n conf.Node) error {
	if n.Kind() == conf.String {
		*t = TCPCheck{On: true, Address: n.Text()}
		return registry.CheckHostPort(t.Address, false)
	}
	t.Address = ""
	if n.Kind() != conf.Bool {
		return errors.New("expected true, or an address host:port")
	}
	return n.Decode(&t.On)
}

// MarshalText is what was read.
func (t TCPCheck) MarshalText() ([]byte, error) {
	if t.Address != "" {
		return []byte(t.Address), nil
	}
	return strconv.AppendBool(nil, t.On), nil
}

// GRPCCheck asks the app's gRPC health service (grpc.health.v1.Health/Check).
type GRPCCheck struct {
	Service string // empty: the server as a whole
	Address string // host:port; empty: the app's first port
}

// Validate says what cannot be asked.
func (c *GRPCCheck) Validate() error {
	if c.Address == "" {
		return nil
	}
	if err := registry.CheckHostPort(c.Address, false); err != nil {
		return conf.FieldError("address", err.Error())
	}
	return nil
}

// Validate finds what is wrong with the check by itself.
func (h Health) Validate() error {
	var errs []error
	if h.HTTP != "" && h.TCP.On {
		errs = append(errs, conf.FieldError("tcp", "is checked over http already: give one of http, tcp and grpc"))
	}
	if h.HTTP != "" {
		if err := checkHealthURL(h.HTTP); err != nil {
			errs = append(errs, conf.FieldError("http", err.Error()))
		}
	}
	if h.GRPC != nil {
		switch {
		case h.HTTP != "":
			errs = append(errs, conf.FieldError("grpc", "is checked over http already: give one of http, tcp and grpc"))
		case h.TCP.On:
			errs = append(errs, conf.FieldError("grpc", "is checked over tcp already: give one of http, tcp and grpc"))
		}
	}
	if !h.Exec.IsZero() {
		errs = append(errs, conf.FieldError("exec", "exec checks are not supported in this version: use http, tcp or grpc"))
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}} {
		if d.d < time.Millisecond {
			errs = append(errs, conf.FieldErrorf(d.key, "must be at least 1ms, is %v", d.d))
		}
	}
	for _, n := range []struct {
		key string
		n   int
	}{{"healthyAfter", h.HealthyAfter}, {"unhealthyAfter", h.UnhealthyAfter}} {
		if n.n < 1 {
			errs = append(errs, conf.FieldErrorf(n.key, "must be at least 1, is %d", n.n))
		}
	}
	return errors.Join(errs...)
}

func checkHealthURL(s string) error {
	if strings.HasPrefix(s, "/") {
		s = "http://app:80" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is neither a path such as /healthz nor an http:// URL", s)
	}
	return nil
}

// Check is what to do to learn whether the app is healthy.
type Check struct {
	URL     string       // to get; a status of 2xx or 3xx is healthy
	Address string       // to connect to, where URL is empty
	HTTP2   bool         // URL is to be got over HTTP/2, without TLS: the app speaks nothing else
	TLS     *UpstreamTLS // spoken for an https URL, and for GRPC; nil: plain text
	Health               // times and thresholds; with GRPC, its service is asked for at Address
}

// HealthCheck is the check of a loaded configuration's app.
func (a *App) HealthCheck() Check {
	c := Check{Health: a.Health, Address: a.Ports[0].Address}
	switch {
	case strings.HasPrefix(a.Health.HTTP, "/") && a.Ports[0].TLS != nil:
		c.URL, c.TLS = "https://"+c.Address+a.Health.HTTP, a.Ports[0].TLS
	case strings.HasPrefix(a.Health.HTTP, "/"):
		c.URL = "http://" + c.Address + a.Health.HTTP
		c.HTTP2 = a.Ports[0].Protocol == registry.ProtocolHTTP2 || a.Ports[0].Protocol == registry.ProtocolGRPC
	case a.Health.HTTP != "":
		c.URL = a.Health.HTTP
	case a.Health.TCP.Address != "":
		c.Address = a.Health.TCP.Address
	case a.Health.GRPC != nil && a.Health.GRPC.Address != "":
		c.Address = a.Health.GRPC.Address
	case a.Health.GRPC != nil:
		c.TLS = a.Ports[0].TLS
	}
	return c
}

// complete fills in the defaults that depend on other keys.
func (a *App) complete(inbound string) {
	a.Ports = a.ports(inbound)
	a.Address, a.Advertise = a.Ports[0].Address, a.Ports[0].Advertise
}

// ports is the app's ports, whichever way they are written.
func (a *App) ports(inbound string) []Port {
	if len(a.Ports) == 0 {
		address := a.Address
		if address == "" {
			address = defaultAppAddress
		}
		return []Port{{
			Name: "http", Address: address, Listen: inbound, Advertise: a.Advertise, TLS: a.TLS,
		}}
	}
	ports := slices.Clone(a.Ports)
	for i := range ports {
		if ports[i].Name == "" && len(ports) == 1 {
			ports[i].Name = "http"
		}
		if ports[i].TLS == nil && ports[i].Protocol != registry.ProtocolTCP {
			ports[i].TLS = a.TLS
		}
	}
	if ports[0].Listen == "" {
		ports[0].Listen = inbound
	}
	return ports
}

// Ports is the app's ports in the file's order; nil on a gateway.
func (c *Config) Ports() []Port {
	if c.App == nil {
		return nil
	}
	return c.App.Ports
}

// ServicePort is the number that callers use for the app's i-th port where no
// MeshService declares one: 80 for the first unless that is tcp, for the others
// the app's own.
func (a *App) ServicePort(i int) uint16 {
	if i == 0 && a.Ports[i].Protocol != registry.ProtocolTCP {
		return registry.DefaultPort
	}
	_, port, _ := net.SplitHostPort(a.Ports[i].Address)
	n, _ := strconv.ParseUint(port, 10, 16) // validated
	return uint16(n)
}

// Registered is the address to register for a port whose listener was bound
// to bound: Advertise if the file has one, else bound itself. That has to be
// an address that others can reach: an unspecified one is an error.
func (p Port) Registered(bound net.Addr) (string, error) {
	if p.Advertise != "" {
		return p.Advertise, nil
	}
	addr, err := netip.ParseAddrPort(bound.String())
	if err != nil {
		return "", fmt.Errorf("port %s: the listener's address %v cannot be registered: %w", p.Name, bound, err)
	}
	if addr.Addr().IsUnspecified() {
		return "", fmt.Errorf("port %s: %v is no address to register: give advertise", p.Name, bound)
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String(), nil
}
