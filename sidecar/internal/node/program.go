package node

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// DefaultMiddleware is what runs where sidecar.yaml names no middleware, in
// the form of a middleware file.
const DefaultMiddleware = `
inbound:  [requestid, accesslog, metrics, tracing, timeout]
outbound: [requestid, accesslog, metrics, tracing, timeout, breaker, retry]
gateway:  [requestid, accesslog, metrics, tracing, timeout, breaker, retry]
`

// parseMiddleware reads the lists that the configuration names, with all errors
// at once.
func parseMiddleware(c *config.Config, kinds []middleware.Kind) (middleware.Lists, error) {
	if path, ok := c.MiddlewareFile(); ok {
		n, err := conf.Load(path)
		var mistakes conf.Errors
		switch {
		case err != nil && !errors.As(err, &mistakes): // not there, or not to be read
			return middleware.Lists{}, &conf.Error{Pos: c.Middleware.Pos(), Msg: "middleware: " + err.Error()}
		case err != nil:
			return middleware.Lists{}, err
		case n.IsZero() || n.Kind() == conf.Null:
			// Not "no middleware": a file is empty while it is being written.
			return middleware.Lists{}, &conf.Error{Pos: conf.Pos{File: path, Line: 1, Col: 1}, Msg: "the file is empty: write inbound: [] for a chain without middleware"}
		}
		return middleware.ParseLists(n, kinds)
	}
	if !c.Middleware.IsZero() && c.Middleware.Kind() != conf.Null {
		return middleware.ParseLists(c.Middleware, kinds)
	}
	n, err := conf.Parse("default middleware", []byte(DefaultMiddleware))
	if err != nil {
		return middleware.Lists{}, err
	}
	lists, err := middleware.ParseLists(n, kinds)
	if err != nil {
		return middleware.Lists{}, fmt.Errorf("the default chain needs kinds that this program was built without: set middleware in the configuration: %w", err)
	}
	return lists, nil
}

// program is one version of the middleware: every chain that was built of one
// file. It does not change.
type program struct {
	chains map[chainKey]*middleware.Chains
}

type chainKey struct{ direction, service string }

// newProgram builds every chain of the lists, or none and says what is wrong.
func newProgram(l middleware.Lists, e middleware.Env, g *middleware.Generation) (*program, error) {
	p := &program{chains: map[chainKey]*middleware.Chains{}}
	var errs []error
	build := func(direction, service string) {
		env := e.In(g)
		env.Direction, env.Service = direction, service
		c, err := l.For(direction, service).Build(env)
		if err != nil {
			errs = append(errs, err)
			return
		}
		// The chain keeps its program, and with it the generation's states,
		// for as long as an exchange or a table has it.
		c.Request = &held{c.Request, p}
		p.chains[chainKey{direction, service}] = c
	}
	for _, direction := range []string{middleware.Inbound, middleware.Outbound, middleware.Gateway} {
		build(direction, "")
	}
	for service := range l.Services {
		build(middleware.Inbound, service)
		build(middleware.Outbound, service)
	}
	return p, errors.Join(errs...)
}

// held is a request chain that keeps its program from being cleaned up.
type held struct {
	middleware.Handler
	program *program
}

// find is the chains of a direction for a service, which is name.namespace:port
// or name.namespace/port: the file may name it so, without the port, or, in the
// sidecar's own namespace, by its name alone.
func (p *program) find(direction, service, namespace string) *middleware.Chains {
	whole, _, _ := strings.Cut(strings.Replace(service, "/", ":", 1), ":")
	short := strings.TrimSuffix(whole, "."+namespace)
	for _, name := range []string{service, whole, short} {
		if c := p.chains[chainKey{direction, name}]; c != nil {
			return c
		}
	}
	return p.chains[chainKey{direction, ""}]
}

func (p *program) status() any {
	status := map[string]map[string][]string{}
	for key, c := range p.chains {
		service := key.service
		if service == "" {
			service = "*"
		}
		if status[key.direction] == nil {
			status[key.direction] = map[string][]string{}
		}
		status[key.direction][service] = c.Entries
	}
	return status
}

// checkServices finds services in the file whose name cannot be one.
func checkServices(l middleware.Lists) error {
	var errs []error
	for name, s := range l.Services {
		host, _, _ := strings.Cut(name, ":")
		for label := range strings.SplitSeq(host, ".") {
			if err := registry.CheckName(label); err != nil {
				errs = append(errs, &conf.Error{Pos: s.Pos, Msg: fmt.Sprintf("services: %q is not the name of a service: %v", name, err)})
				break
			}
		}
	}
	return conf.Join(errs...)
}

// generations are the states of all programs that are still in use.
type generations struct {
	mu   sync.Mutex
	open map[*middleware.Generation]struct{}
}

// add keeps the generation until the program is used by nobody: neither by a
// table nor by an exchange that began with it. The garbage collector is who
// knows that; counting exchanges would cost each of them two writes to memory
// that all cores share.
func (g *generations) add(gen *middleware.Generation, p *program, closed func(error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[gen] = struct{}{}
	runtime.AddCleanup(p, func(gen *middleware.Generation) { closed(g.close(gen)) }, gen)
}

func (g *generations) close(gen *middleware.Generation) error {
	g.mu.Lock()
	_, ok := g.open[gen]
	delete(g.open, gen)
	g.mu.Unlock()
	if !ok {
		return nil
	}
	return gen.Close()
}

// closeAll closes what is left at the end.
func (g *generations) closeAll() error {
	g.mu.Lock()
	all := g.open
	g.open = map[*middleware.Generation]struct{}{}
	g.mu.Unlock()
	var errs []error
	for gen := range all {
		errs = append(errs, gen.Close())
	}
	return errors.Join(errs...)
}
