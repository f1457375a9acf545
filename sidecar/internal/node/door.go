package node

import (
	"context"
	"fmt"
	"net"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// role is what a listener is for.
type role string

const (
	roleAdmin    role = "admin"
	roleMetrics  role = "metrics"
	roleOutbound role = "outbound"
	roleGateway  role = "gateway"
	roleInbound  role = "inbound"
)

// traffic reports whether the mesh's requests come in there: it is drained
// first, so that the app can still call others while it finishes them.
func (r role) traffic() bool { return r == roleInbound || r == roleGateway }

// spec is what a listener is, as far as a server depends on it: as long as a
// spec stays in the configuration, its server and connections do.
type spec struct {
	role     role
	port     string            // the app's port; inbound only
	protocol registry.Protocol // of that port, as far as it decides what serves it: http or tcp
	address  string            // as the configuration has it
}

// name tells the listeners of a sidecar apart, also across processes.
func (s spec) name() string {
	if s.role == roleInbound {
		return string(s.role) + "/" + s.port
	}
	return string(s.role)
}

// wish is a listener that the configuration asks for.
type wish struct {
	spec
	key string // in the file, for people
}

// wishes are the listeners of a configuration.
func wishes(c *config.Config) []wish {
	var all []wish
	add := func(w wish) {
		if w.address != "" {
			all = append(all, w)
		}
	}
	add(wish{spec{role: roleAdmin, address: c.Listen.Admin}, "listen.admin"})
	add(wish{spec{role: roleMetrics, address: c.Listen.Metrics}, "listen.metrics"})
	add(wish{spec{role: roleOutbound, address: c.Listen.Outbound}, "listen.outbound"})
	add(wish{spec{role: roleGateway, address: c.Listen.Gateway}, "listen.gateway"})
	for i, p := range c.Ports() {
		add(wish{spec{role: roleInbound, port: p.Name, protocol: servedAs(p.Protocol), address: p.Listen}, inboundKey(i)})
	}
	return all
}

// servedAs is what a port's protocol means to its listener: one server takes
// every version of HTTP, and tells them apart by what the client says first.
func servedAs(p registry.Protocol) registry.Protocol {
	if p == registry.ProtocolTCP {
		return p
	}
	return registry.ProtocolHTTP
}

func inboundKey(i int) string {
	if i == 0 {
		return "listen.inbound"
	}
	return fmt.Sprintf("app.ports[%d].listen", i)
}

// server is what serves a listener: proxy.Server, tcp.Server, or the admin
// port's.
type server interface {
	Serve(net.Listener) error
	// Drain tells clients to come back elsewhere; new ones are still taken.
	Drain()
	// Shutdown stops accepting and waits for what is under way until ctx ends.
	Shutdown(ctx context.Context) error
	Connections() int
}

// door is a bound listener, and its server once it is open.
type door struct {
	wish
	ln     net.Listener
	server server
	served chan struct{} // closed when Serve has returned; nil before it was called
	err    error         // of Serve
}

// open has the door's server serve. failed is told when that ends by itself.
func (d *door) open(s server, failed chan<- error) {
	d.server, d.served = s, make(chan struct{})
	go func() {
		defer close(d.served)
		if d.err = s.Serve(d.ln); d.err != nil {
			select {
			case failed <- fmt.Errorf("%s: %w", d.name(), d.err):
			default: // one is enough to end
			}
		}
	}()
}

// close gives a door up that nothing serves yet.
func (d *door) close() { _ = d.ln.Close() }

// shut drains the door: see server.Shutdown.
func (d *door) shut(ctx context.Context) error {
	if d.server == nil {
		d.close()
		return nil
	}
	err := d.server.Shutdown(ctx)
	<-d.served
	return err
}
