package node

import (
	"context"
	"net/http"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/admin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// adminHandler is what the admin port shows and does.
func (s *Node) adminHandler() http.Handler {
	return admin.New(admin.Options{
		Ready: s.notReady, Gatherer: s.metrics, Sources: s.sources(), Level: s.o.Level,
		Drain: func() { go s.leave() }, Logger: s.component("admin"),
	})
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
	if name := s.gateway.listener(); name != "" && s.gateway.table.Load() == nil {
		why = append(why, "no routes for "+name+" yet")
	}
	return why
}

// sources are the parts of the config dump.
func (s *Node) sources() map[string]func() any {
	sources := map[string]func() any{
		"version": func() any { return s.o.Version },
		"config":  func() any { return s.config.Load() },
		"reload":  func() any { return s.reload.state() },
		"middleware": func() any {
			return map[string]any{"file": s.reloadProxy.state(), "chains": s.program.Load().status()}
		},
		"listeners": s.doors.status,
		"tls":       func() any { return s.tls.files.Status() },
		"services":  s.directory.status,
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
	if s.config.Load().App != nil {
		sources["registration"] = s.member.status
	}
	if s.member.control != nil {
		sources["registry"] = func() any {
			if m := s.member; m.lock(context.Background()) == nil {
				defer m.unlock()
				return m.control.Status()
			}
			return nil
		}
	}
	return sources
}
