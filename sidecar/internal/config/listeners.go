package config

import (
	"fmt"
	"net"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// listener is one address that the sidecar listens on, with its key.
type listener struct {
	key     string
	address *string
}

// listeners are the keys of listen in the order of the documentation.
func (c *Config) listeners() []listener {
	return []listener{
		{"listen.inbound", &c.Listen.Inbound},
		{"listen.outbound", &c.Listen.Outbound},
		{"listen.admin", &c.Listen.Admin},
		{"listen.gateway", &c.Listen.Gateway},
		{"listen.metrics", &c.Listen.Metrics},
	}
}

// used are the listeners that will be opened.
func (c *Config) used() []listener {
	var used []listener
	for _, l := range c.listeners() {
		switch {
		case *l.address == Off || *l.address == "":
		case l.key == "listen.inbound" && (c.App == nil || len(c.App.Ports) > 0 && c.App.Ports[0].Listen != ""):
		default:
			used = append(used, l)
		}
	}
	if c.App != nil {
		for i := range c.App.Ports {
			if p := &c.App.Ports[i]; p.Listen != "" {
				used = append(used, listener{fmt.Sprintf("app.ports[%d].listen", i), &p.Listen})
			}
		}
	}
	return used
}

func (c *Config) validateListeners() []error {
	var errs []error
	for _, l := range c.listeners() {
		if *l.address == Off {
			if l.key == "listen.inbound" && c.App != nil && (len(c.App.Ports) == 0 || c.App.Ports[0].Listen == "") {
				errs = append(errs, conf.FieldError(l.key, "cannot be off where there is an app: it is where its requests come in"))
			}
			continue
		}
		if err := registry.CheckHostPort(*l.address, true); err != nil {
			errs = append(errs, conf.FieldError(l.key, err.Error()))
		}
	}
	used := c.used()
	for i, l := range used {
		for _, earlier := range used[:i] {
			if clash(*l.address, *earlier.address) {
				errs = append(errs, conf.FieldErrorf(l.key, "%s is taken by %s (%s)", *l.address, earlier.key, *earlier.address))
				break
			}
		}
	}
	return append(errs, c.validateLoops(used)...)
}

// clash reports whether two addresses cannot both be listened on.
func clash(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isUnspecified(hostA) || isUnspecified(hostB) || isLoopback(hostA) && hostB == "localhost" || hostA == "localhost" && isLoopback(hostB)
}

// validateLoops finds requests that would be sent to the sidecar itself. An
// unspecified address that is listened on covers the loopback ones.
func (c *Config) validateLoops(used []listener) []error {
	var errs []error
	check := func(path, address string) {
		for _, l := range used {
			if clash(address, *l.address) && (host(address) == host(*l.address) || isLoopback(host(address))) {
				errs = append(errs, conf.FieldErrorf(path, "%s is the sidecar itself (%s): requests would go in a circle", address, l.key))
				return
			}
		}
	}
	if c.App != nil {
		for i, p := range c.App.ports("") {
			path := "app.address"
			if len(c.App.Ports) > 0 {
				path = fmt.Sprintf("app.ports[%d].address", i)
			}
			check(path, p.Address)
		}
	}
	for name, u := range c.Upstreams {
		for i, e := range u.Endpoints {
			check(fmt.Sprintf("upstreams[%q].endpoints[%d]", name, i), e.Address)
		}
	}
	return errs
}

// validateAdvertised finds addresses that would be registered and that nobody
// could reach.
func (c *Config) validateAdvertised() []error {
	if c.App == nil || c.registryKind() == "" {
		return nil
	}
	remote := c.Discovery.XDS != nil && !isLoopback(host(c.Discovery.XDS.Server))
	var errs []error
	for i, p := range c.App.ports(c.Listen.Inbound) {
		listenKey, advertiseKey := "listen.inbound", "app.advertise"
		if len(c.App.Ports) > 0 {
			advertiseKey = fmt.Sprintf("app.ports[%d].advertise", i)
			if c.App.Ports[i].Listen != "" {
				listenKey = fmt.Sprintf("app.ports[%d].listen", i)
			}
		}
		key, address := advertiseKey, p.Advertise
		if address == "" {
			key, address = listenKey, p.Listen
		}
		switch h := host(address); {
		case isUnspecified(h) && p.Advertise == "":
			errs = append(errs, conf.FieldErrorf(key, "%s is no address to register: give %s, the address that other machines reach", address, advertiseKey))
		case isLoopback(h) && remote:
			errs = append(errs, conf.FieldErrorf(key, "%s would be registered with %s, and no other machine can reach it: give %s",
				address, c.Discovery.XDS.Server, advertiseKey))
		}
	}
	return errs
}
