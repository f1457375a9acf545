package mesh

import (
	"fmt"
	"slices"
	"strings"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

// GetService returns a service's nodes that take requests, one Service a
// version; name:port gives those of one port. ErrNotFound of Go-Micro says
// that there are none.
func (r *Registry) GetService(name string, opts ...microregistry.GetOption) ([]*microregistry.Service, error) {
	var o microregistry.GetOptions
	for _, opt := range opts {
		opt(&o)
	}
	service, port, err := micro.ParseServiceName(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", microregistry.ErrNotFound, err)
	}
	rd, err := r.openReader()
	if err != nil {
		return nil, err
	}
	instances, found, err := rd.lookup(o.Context, service, port)
	switch {
	case err != nil:
		return nil, fmt.Errorf("get service %s: %w", name, err)
	case !found:
		return nil, microregistry.ErrNotFound
	}
	return micro.Services(instances...), nil
}

// ListServices returns the names of all services, in order, those without
// endpoints included.
func (r *Registry) ListServices(opts ...microregistry.ListOption) ([]*microregistry.Service, error) {
	var o microregistry.ListOptions
	for _, opt := range opts {
		opt(&o)
	}
	rd, err := r.openReader()
	if err != nil {
		return nil, err
	}
	names, err := rd.list(o.Context)
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	out := make([]*microregistry.Service, 0, len(names))
	for _, n := range names {
		out = append(out, &microregistry.Service{Name: micro.ServiceName(n)})
	}
	slices.SortFunc(out, func(a, b *microregistry.Service) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Status is what a registry can say of itself.
type Status struct {
	Server string `json:"server"`
	// Registration is absent before the first Register, Discovery before the
	// first look-up.
	Registration *WriterStatus `json:"registration,omitempty"`
	Discovery    *ads.Status   `json:"discovery,omitempty"`
}

// Status says how the registry is.
func (r *Registry) Status() Status {
	r.mu.Lock()
	s := Status{Server: r.opts.Dial.Server}
	w, rd := r.writer, r.reader
	r.mu.Unlock()
	if w != nil {
		st := w.state()
		s.Registration = &st
	}
	if rd != nil {
		st := rd.client.Status()
		s.Discovery = &st
	}
	return s
}
