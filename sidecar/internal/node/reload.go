package node

import (
	"context"
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/systemd"
)

// reloadEvery is how often the configuration and the middleware file are looked
// at. Looking is one stat; a file that was saved is in force well within a
// second, since it counts at the second look.
const reloadEvery = 250 * time.Millisecond

// watchFiles makes what keeps this node in step with its files.
func (s *Node) watchFiles(c *config.Config) {
	s.reload = &reloader{
		what: "configuration", retry: true,
		log: s.component("config"), metrics: newReloadMetrics(s.metrics, "config", "configuration"),
	}
	if s.o.Load != nil {
		s.reload.follow(c.File)
	}
	s.reloadProxy = &reloader{
		what: "middleware file", log: s.component("middleware"), metrics: newReloadMetrics(s.metrics, "middleware", "middleware file"),
	}
	path, _ := c.MiddlewareFile()
	s.reloadProxy.follow(path)
}

// runReload looks at the files until ctx ends, and reads both at each signal.
func (s *Node) runReload(ctx context.Context) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for asked := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.o.Reload:
			asked = true
		case <-tick.C:
		}
		if s.serving.Load() && s.changing.TryLock() {
			s.reloadFiles(ctx, asked)
			s.changing.Unlock()
			asked = false
		}
	}
}

// reloadFiles reads what has changed, or everything if asked.
func (s *Node) reloadFiles(ctx context.Context, asked bool) {
	if asked {
		s.notify(systemd.Reloading())
		defer s.notify(systemd.Ready)
	}
	if s.o.Load != nil && (s.reload.due(asked) || asked) {
		s.reload.read(s.reconfigure(ctx))
	}
	if s.reloadProxy.due(asked) {
		lists, err := s.buildProgram(s.config.Load())
		if err == nil {
			err = s.putProgram(lists)
		}
		s.reloadProxy.read(err)
	}
}

// built is a program that is not in force yet.
type built struct {
	program    *program
	generation *middleware.Generation
}

// buildProgram reads the lists that a configuration names and builds all of
// their chains.
func (s *Node) buildProgram(c *config.Config) (built, error) {
	lists, err := parseMiddleware(c, s.o.Kinds)
	if err != nil {
		return built{}, err
	}
	if err := checkServices(lists); err != nil {
		return built{}, err
	}
	g := s.states.NewGeneration()
	p, err := newProgram(lists, middleware.Env{Logger: s.o.Logger, Metrics: s.metrics}, g)
	if err != nil {
		return built{}, errors.Join(err, g.Close())
	}
	return built{p, g}, nil
}

// putProgram puts chains in force.
func (s *Node) putProgram(b built) error {
	s.generations.add(b.generation, b.program, func(err error) {
		if err != nil {
			s.component("middleware").Warn("state of old middleware not closed in order", "error", err)
		}
	})
	s.program.Store(b.program)
	return s.rebuild()
}

// rebuild makes every table anew with the chains in force. Exchanges under way
// end in the chains that they began in.
func (s *Node) rebuild() error {
	errs := []error{s.directory.rebuild(), s.gateway.rebuild()}
	for _, a := range s.apps {
		if a.http != nil {
			a.http.rebuild()
		}
	}
	return errors.Join(errs...)
}
