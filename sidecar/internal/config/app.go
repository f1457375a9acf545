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
}

// SetDefaults is the defaults of an app's keys.
func (a *App) SetDefaults() {
	a.Health = Health{Interval: 2 * time.Second, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3}
}

// Port is one port of the app.
type Port struct {
	Name     string            // what the service's port is joined with
	Protocol registry.Protocol // http, or tcp: passed through as it is
	Address  string            // of the app
	// Listen is where the mesh's requests for it come in; the first port's
	// default is listen.inbound.
	Listen string
	// Advertise is what is registered, ip:port; empty: what Listen was bound
	// to.
	Advertise string
}

// SetDefaults is the defaults of a port's keys.
func (p *Port) SetDefaults() { p.Protocol = registry.ProtocolHTTP }

// Health is how the app is checked: over HTTP or TCP, and by a connection to
// its first port where neither is asked for.
type Health struct {
	HTTP string `yaml:"http"` // a path on the app's first port, or an http:// URL
	TCP  TCPCheck
	GRPC conf.Node `yaml:"grpc"`
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

// Validate finds what is wrong with the check by itself.
func (h Health) Validate() error {
	var errs []error
	if h.HTTP != "" && h.TCP.On {
		errs = append(errs, conf.FieldError("tcp", "is checked over http already: give one of http and tcp"))
	}
	if h.HTTP != "" {
		if err := checkHealthURL(h.HTTP); err != nil {
			errs = append(errs, conf.FieldError("http", err.Error()))
		}
	}
	for key, n := range map[string]conf.Node{"grpc": h.GRPC, "exec": h.Exec} {
		if !n.IsZero() {
			errs = append(errs, conf.FieldErrorf(key, "%s checks are not supported in this version: use http or tcp", key))
		}
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
	URL     string // to get; a status of 2xx or 3xx is healthy
	Address string // to connect to, where URL is empty
	Health         // times and thresholds
}

// HealthCheck is the check of a loaded configuration's app.
func (a *App) HealthCheck() Check {
	c := Check{Health: a.Health, Address: a.Ports[0].Address}
	switch {
	case strings.HasPrefix(a.Health.HTTP, "/"):
		c.URL = "http://" + c.Address + a.Health.HTTP
	case a.Health.HTTP != "":
		c.URL = a.Health.HTTP
	case a.Health.TCP.Address != "":
		c.Address = a.Health.TCP.Address
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
			Name: "http", Protocol: registry.ProtocolHTTP,
			Address: address, Listen: inbound, Advertise: a.Advertise,
		}}
	}
	ports := slices.Clone(a.Ports)
	for i := range ports {
		if ports[i].Name == "" && len(ports) == 1 {
			ports[i].Name = "http"
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
// MeshService declares one: 80 for the first if that is http, for the others the
// app's own.
func (a *App) ServicePort(i int) uint16 {
	if i == 0 && a.Ports[i].Protocol == registry.ProtocolHTTP {
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
