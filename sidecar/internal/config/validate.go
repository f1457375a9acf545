package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
)

// checkProtocol refuses what upstreams cannot speak.
func checkProtocol(p registry.Protocol) error {
	switch {
	case p == registry.ProtocolTCP:
		return errors.New("tcp is not carried to upstreams: known are http, http2 and grpc, and nothing for what the client speaks")
	case p.Valid():
		return nil
	}
	return fmt.Errorf("unknown protocol %q, known are http, http2 and grpc, and nothing for what the client speaks", string(p))
}

// checkPortProtocol refuses what the app's ports cannot speak.
func checkPortProtocol(p registry.Protocol) error {
	if p.Valid() {
		return nil
	}
	return fmt.Errorf("unknown protocol %q, known are http, http2, grpc and tcp, and nothing for what the client speaks", string(p))
}

// Validate finds what is wrong with the node by itself.
func (n Node) Validate() error {
	var errs []error
	check := func(key string, err error) {
		if err != nil {
			errs = append(errs, conf.FieldError(key, err.Error()))
		}
	}
	check("namespace", registry.CheckName(n.Namespace))
	check("network", registry.CheckName(n.Network))
	for key, text := range map[string]string{"id": n.ID, "host": n.Host, "region": n.Region, "zone": n.Zone} {
		check(key, checkWord(text))
	}
	return errors.Join(errs...)
}

// checkWord refuses what cannot be part of a path of names or of a log line.
func checkWord(s string) error {
	if len(s) > 253 {
		return fmt.Errorf("%.20q… is longer than 253 bytes", s)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return fmt.Errorf("%q holds a space, a slash or what cannot be printed", s)
	}
	return nil
}

// Validate finds what is wrong with the gateway's name.
func (g Gateway) Validate() error {
	var errs []error
	if namespace, name, ok := strings.Cut(g.Name, "/"); g.Name != "" &&
		(!ok || registry.CheckName(namespace) != nil || registry.CheckName(name) != nil) {
		errs = append(errs, conf.FieldErrorf("name", "%q is not of the form namespace/name", g.Name))
	}
	if g.Port == 0 {
		errs = append(errs, conf.FieldError("port", "must be from 1 to 65535, is 0"))
	}
	return errors.Join(errs...)
}

// Validate finds what is wrong with the registry by itself.
func (r Registry) Validate() error {
	var errs []error
	switch {
	case r.Kind != "" && r.Kind != RegistryMesh:
		errs = append(errs, conf.FieldErrorf("kind", "the registry kind %q is not built in, known is %s", r.Kind, RegistryMesh))
	case !r.Endpoints.IsZero():
		errs = append(errs, conf.FieldErrorf("endpoints", "the registry kind %s takes none: it is the control plane at discovery.xds.server", RegistryMesh))
	}
	if r.TTL < time.Second || r.TTL > time.Hour || r.TTL%time.Second != 0 {
		errs = append(errs, conf.FieldErrorf("ttl", "must be whole seconds from 1s to 1h, is %v", r.TTL))
	}
	return errors.Join(errs...)
}

// Validate refuses unknown values.
func (u Unknown) Validate() error {
	if u == UnknownRefuse || u == UnknownPassthrough {
		return nil
	}
	return fmt.Errorf("unknown value %q, known are passthrough, refuse", string(u))
}

// Validate refuses unknown levels.
func (l Log) Validate() error {
	if _, err := run.ParseLevel(l.Level); err != nil {
		return conf.FieldError("level", err.Error())
	}
	return nil
}

// Validate finds what is wrong with the port by itself.
func (p Port) Validate() error {
	var errs []error
	check := func(key, address string, zero bool) {
		if address == "" {
			return
		}
		if err := registry.CheckHostPort(address, zero); err != nil {
			errs = append(errs, conf.FieldError(key, err.Error()))
		}
	}
	if p.Address == "" {
		errs = append(errs, conf.FieldError("address", "must be given: where the app has this port, host:port"))
	}
	check("address", p.Address, false)
	check("listen", p.Listen, true)
	if p.Name != "" {
		if err := registry.CheckName(p.Name); err != nil {
			errs = append(errs, conf.FieldError("name", err.Error()))
		}
	}
	if err := checkPortProtocol(p.Protocol); err != nil {
		errs = append(errs, conf.FieldError("protocol", err.Error()))
	}
	if err := checkAdvertise(p.Advertise); err != nil {
		errs = append(errs, conf.FieldError("advertise", err.Error()))
	}
	return errors.Join(errs...)
}

// checkAdvertise wants an IP address: Envoy and gRPC refuse endpoints that
// have names.
func checkAdvertise(s string) error {
	if s == "" {
		return nil
	}
	if err := registry.CheckHostPort(s, false); err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an IP address with a port, and endpoints of the mesh have no names", s)
	case addr.Addr().IsUnspecified():
		return fmt.Errorf("%q is no address that others can reach: write the machine's own", s)
	}
	return nil
}

// Validate finds what is wrong with the app by itself.
func (a *App) Validate() error {
	var errs []error
	fail := func(path, format string, args ...any) { errs = append(errs, conf.FieldErrorf(path, format, args...)) }
	if err := registry.CheckName(a.Name); err != nil {
		fail("name", "%v", err)
	}
	if err := checkWord(a.Version); err != nil {
		fail("version", "%v", err)
	}
	if a.Address != "" {
		if err := registry.CheckHostPort(a.Address, false); err != nil {
			fail("address", "%v", err)
		}
	}
	if err := checkAdvertise(a.Advertise); err != nil {
		fail("advertise", "%v", err)
	}
	if len(a.Ports) > 0 && a.Address != "" {
		fail("address", "is short for one port: give either address or ports")
	}
	if len(a.Ports) > 0 && a.Advertise != "" {
		fail("advertise", "belongs to address: where there are ports, each has its own")
	}
	if len(a.Ports) > 0 && a.Ports[0].Protocol == registry.ProtocolTCP && strings.HasPrefix(a.Health.HTTP, "/") {
		fail("health.http", "is a path on the first port, which is tcp: write the whole URL, such as http://127.0.0.1:8080%s", a.Health.HTTP)
	}
	first := map[string]int{}
	for i, p := range a.Ports {
		path := fmt.Sprintf("ports[%d]", i)
		if p.Name == "" && len(a.Ports) > 1 {
			fail(path+".name", "must be given where there are several ports")
		} else if j, ok := first[p.Name]; ok {
			fail(path+".name", "%q is the name of ports[%d] already", p.Name, j)
		} else {
			first[p.Name] = i
		}
		if i > 0 && p.Listen == "" {
			fail(path+".listen", "must be given: only the first port has listen.inbound for a default")
		}
	}
	return errors.Join(errs...)
}

// Validate finds what is wrong between the parts of the file.
func (c *Config) Validate() error {
	errs := c.validateListeners()
	errs = append(errs, c.validateUpstreams()...)
	errs = append(errs, c.validateDiscovery()...)
	errs = append(errs, c.validateTLS()...)
	errs = append(errs, c.validateAdvertised()...)
	if c.Listen.Gateway == Off && c.Gateway.Name != "" {
		errs = append(errs, conf.FieldError("gateway.name", "has no use without listen.gateway"))
	}
	if !c.Middleware.IsZero() && c.Middleware.Kind() != conf.String && c.Middleware.Kind() != conf.Map {
		errs = append(errs, conf.FieldErrorf("middleware", "expected the path of a file, or its content as a map, found %v", c.Middleware.Kind()))
	}
	return errors.Join(errs...)
}

func (c *Config) validateDiscovery() []error {
	xds := c.Discovery.XDS
	if xds == nil {
		if c.Discovery.Registry.Kind == RegistryMesh {
			return []error{conf.FieldErrorf("discovery.registry.kind", "%s is the control plane, and there is no discovery.xds", RegistryMesh)}
		}
		return nil
	}
	var errs []error
	if err := registry.CheckHostPort(xds.Server, false); err != nil {
		errs = append(errs, conf.FieldError("discovery.xds.server", err.Error()))
	}
	for _, f := range []struct{ key, path string }{{"tokenFile", xds.TokenFile}, {"caFile", xds.CAFile}} {
		if f.path == "" {
			continue
		}
		if err := readable(c.Path(f.path)); err != nil {
			errs = append(errs, conf.FieldError("discovery.xds."+f.key, err.Error()))
		}
	}
	return errs
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return fmt.Errorf("cannot be read: %s is not a file", path)
	}
	return nil
}

func (c *Config) validateUpstreams() []error {
	var errs []error
	type key struct {
		registry.ServiceName
		port uint16
	}
	first := map[key]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		service, port, err := c.UpstreamKey(name)
		path := fmt.Sprintf("upstreams[%q]", name)
		if err != nil {
			errs = append(errs, conf.FieldError(path, err.Error()))
			continue
		}
		if other, ok := first[key{service, port}]; ok {
			errs = append(errs, conf.FieldErrorf(path, "is the same service as %q: both are %s", other, service.PortName(port)))
			continue
		}
		first[key{service, port}] = name
	}
	return errs
}

// host is the host of an address that may be unfit otherwise.
func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}
