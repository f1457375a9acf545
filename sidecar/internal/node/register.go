package node

import (
	"errors"
	"fmt"
	"net"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/registrar"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// healthOptions is how the app of a configuration is watched.
func (s *Node) healthOptions(c *config.Config) registrar.Options {
	check := c.App.HealthCheck()
	probe := registrar.TCP(check.Address)
	switch {
	case check.GRPC != nil && check.TLS != nil:
		probe = registrar.GRPC(check.Address, check.GRPC.Service, s.dialTLS(c, check.TLS, secure.ProtoHTTP2))
	case check.GRPC != nil:
		probe = registrar.GRPC(check.Address, check.GRPC.Service, nil)
	case check.TLS != nil:
		probe = registrar.HTTPS(check.URL, s.dialTLS(c, check.TLS, secure.ProtoHTTP1))
	case check.HTTP2:
		probe = registrar.HTTP2(check.URL)
	case check.URL != "":
		probe = registrar.HTTP(check.URL)
	}
	return registrar.Options{
		Probe: probe, Interval: check.Interval, Timeout: check.Timeout,
		HealthyAfter: check.HealthyAfter, UnhealthyAfter: check.UnhealthyAfter,
		Logger: s.component("registrar"),
	}
}

// instances is what is registered of the app: one node for each port, at the
// address that its listener, by its name, was bound to.
func instances(c *config.Config, bound map[string]net.Addr) (*microregistry.Service, error) {
	app, node := c.App, c.Node
	var all []registry.Instance
	var errs []error
	for i, p := range c.Ports() {
		address, err := p.Registered(bound[spec{role: roleInbound, port: p.Name}.name()])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, registry.Instance{
			InstanceKey: registry.InstanceKey{
				Network: node.Network, Node: node.ID,
				Service:  registry.ServiceName{Namespace: node.Namespace, Name: app.Name},
				PortName: p.Name,
			},
			Address:    address,
			PortNumber: app.ServicePort(i),
			Protocol:   p.Protocol,
			Version:    app.Version,
			Host:       node.Host,
			Locality:   node.Locality(),
			Metadata:   map[string]string{"app.address": p.Address},
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	services := micro.Services(all...)
	if len(services) != 1 {
		return nil, fmt.Errorf("app %s makes %d services, want 1", app.Name, len(services))
	}
	return services[0], nil
}
