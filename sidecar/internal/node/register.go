package node

import (
	"errors"
	"fmt"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/registrar"
)

// makeRegistrar makes what watches the app and registers it. The listeners are
// bound: their addresses are what is registered.
func (s *Node) makeRegistrar() error {
	app := s.config.App
	if app == nil {
		return nil
	}
	service, err := s.instances()
	if err != nil {
		return err
	}
	check := app.HealthCheck()
	probe := registrar.TCP(check.Address)
	if check.URL != "" {
		probe = registrar.HTTP(check.URL)
	}
	o := registrar.Options{
		Probe: probe, Interval: check.Interval, Timeout: check.Timeout,
		HealthyAfter: check.HealthyAfter, UnhealthyAfter: check.UnhealthyAfter,
		Service: func() (*microregistry.Service, error) { return service, nil },
		TTL:     s.config.Discovery.Registry.TTL,
		Logger:  s.component("registrar"), Metrics: s.metrics,
	}
	switch {
	case s.o.Registry != nil:
		o.Registry = s.o.Registry
		o.RenewEvery = o.TTL / 3 // a registry of the caller's may forget what is not repeated
	case s.registry != nil:
		o.Registry = s.registry
	}
	s.registrar = registrar.New(o)
	return nil
}

// instances is what is registered of the app: one node for each port.
func (s *Node) instances() (*microregistry.Service, error) {
	app, node := s.config.App, s.config.Node
	var all []registry.Instance
	var errs []error
	for i, p := range s.config.Ports() {
		address, err := p.Registered(s.listeners[inboundKey(i)].Addr())
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
