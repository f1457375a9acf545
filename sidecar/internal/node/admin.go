package node

import (
	"context"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/admin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// runAdmin serves the admin port, where it is on.
func (s *Node) runAdmin(ctx context.Context) error {
	ln := s.listeners["listen.admin"]
	if ln == nil {
		<-ctx.Done()
		return nil
	}
	handler := admin.New(admin.Options{
		Ready: s.notReady, Gatherer: s.metrics, Sources: s.sources(), Level: s.o.Level,
		Drain: func() { go s.leave() }, Logger: s.component("admin"),
	})
	return admin.NewServer(ln, handler, s.component("admin")).Run(ctx)
}

// runMetrics serves /metrics alone, for scrapers that must not reach the rest.
func (s *Node) runMetrics(ln net.Listener) func(context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return admin.NewServer(ln, mux, s.component("admin")).Run
}

// notReady says why this sidecar should get no traffic.
func (s *Node) notReady() []string {
	var why []string
	if !s.serving.Load() {
		why = append(why, "starting")
	}
	if s.draining.Load() {
		why = append(why, "draining")
	}
	if s.gateway != nil && s.gateway.table.Load() == nil {
		why = append(why, "no routes for "+s.gateway.name+" yet")
	}
	return why
}

// sources are the parts of the config dump.
func (s *Node) sources() map[string]func() any {
	sources := map[string]func() any{
		"version":    func() any { return s.o.Version },
		"config":     func() any { return s.config },
		"middleware": func() any { return map[string]any{"file": s.reload.state(), "chains": s.program.Load().status()} },
		"services":   s.directory.status,
		"clusters": func() any {
			list := []upstream.Status{}
			for _, c := range s.clusters.All() {
				list = append(list, c.Status())
			}
			return list
		},
	}
	if s.xds != nil {
		sources["xds"] = func() any { return s.xds.Status() }
	}
	if s.registrar != nil {
		sources["registration"] = func() any { return s.registrar.Status() }
	}
	if s.registry != nil {
		sources["registry"] = func() any { return s.registry.Status() }
	}
	return sources
}
