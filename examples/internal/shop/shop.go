// Package shop stages the quickstart's mesh out of the built programs: a
// control plane, an entry gateway, and the services orders, users, catalog and
// promo with a sidecar beside each instance. The demo and the end-to-end tests
// share it.
//
// A request enters at the gateway and goes gateway -> sidecar of orders ->
// orders -> sidecar of orders -> sidecar of users -> users, and likewise to
// catalog and promo.
package shop

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// Host is the name under which the shop is asked for at the gateway.
const Host = "shop.example.test"

// startLimit bounds how long one process may take until it works.
const startLimit = 20 * time.Second

// Options is what a Shop is made of.
type Options struct {
	Name string // of the stage's folder
	Bin  string // the folder of the programs
	// Languages run the services that are not written in Go; those that are not
	// named run as their Go twins.
	Languages []Language
	// Alone keeps off the default ports even where they are free.
	Alone bool
}

// Instance is an app and the sidecar beside it.
type Instance struct {
	Name    string // orders-1
	App     *lab.Process
	Sidecar *lab.Process
}

// Shop is the mesh on a stage. Its methods may be used by several goroutines,
// as long as no two start or stop the same process.
type Shop struct {
	opts  Options
	stage *lab.Stage
	addrs *addresses

	ControlPlane *lab.Process
	Gateway      *lab.Process
	Sync         *lab.Process // cmdb-sync

	mu        sync.Mutex
	instances map[string]*Instance
}

// New makes a stage with the configuration files on it; nothing runs yet.
func New(o Options) (*Shop, error) {
	bin, err := filepath.Abs(o.Bin)
	if err != nil {
		return nil, fmt.Errorf("folder of the programs: %w", err)
	}
	o.Bin = bin
	addrs, err := newAddresses(o.Alone)
	if err != nil {
		return nil, err
	}
	stage, err := lab.NewStage(o.Name)
	if err != nil {
		return nil, errors.Join(err, addrs.close())
	}
	s := &Shop{opts: o, stage: stage, addrs: addrs, instances: map[string]*Instance{}}
	if err := errors.Join(writeScripts(stage), addrs.write(stage)); err != nil {
		return nil, errors.Join(err, s.Close(false))
	}
	return s, nil
}

// Close kills every process and removes the folder, unless it is to be kept.
func (s *Shop) Close(keep bool) error {
	return errors.Join(s.stage.Close(keep), s.addrs.close())
}

// Dir is the folder with the configuration files and, under logs, the output
// of every process.
func (s *Shop) Dir() string { return s.stage.Dir }

// Addr is the address of key: "gateway", "orders-1 admin", …
func (s *Shop) Addr(key string) string { return s.addrs.by[key] }

// Moved lists the addresses that are not the default ones, because those were
// taken.
func (s *Shop) Moved() []Moved { return s.addrs.moved }

// Second reports whether another shop on this machine has the default
// addresses, so that this one uses none of them.
func (s *Shop) Second() bool { return s.addrs.sign == nil }

// StartControlPlane starts the control plane and waits until it serves.
func (s *Shop) StartControlPlane(ctx context.Context) error {
	p, err := s.stage.Start(lab.Spec{
		Name: "controlplane",
		Path: filepath.Join(s.opts.Bin, "controlplane"),
		Args: []string{"run", "-c", "controlplane.yaml"},
	})
	if err != nil {
		return err
	}
	s.ControlPlane = p
	return s.await(ctx, p, healthy("http://"+s.Addr("control plane api")+"/readyz"))
}

// StartGateway starts the entry gateway and waits until it has its routes.
func (s *Shop) StartGateway(ctx context.Context) error {
	p, err := s.stage.Start(lab.Spec{
		Name: "gateway",
		Path: filepath.Join(s.opts.Bin, "sidecar"),
		Args: []string{"run", "-c", "gateway.sidecar.yaml"},
	})
	if err != nil {
		return err
	}
	s.Gateway = p
	return s.await(ctx, p, healthy("http://"+s.Addr("gateway admin")+"/readyz"))
}

// StartSync starts cmdb-sync. What it does shows at the control plane.
func (s *Shop) StartSync() error {
	p, err := s.stage.Start(lab.Spec{
		Name: "cmdb-sync",
		Path: filepath.Join(s.opts.Bin, "cmdb-sync"),
		Args: []string{"run", "-c", "cmdb-sync.yaml"},
	})
	s.Sync = p
	return err
}

// Start starts an app of the given service and the sidecar beside it, and
// waits until both answer. The sidecar registers the app by itself a moment
// later.
func (s *Shop) Start(ctx context.Context, service, name string) (*Instance, error) {
	app, err := s.stage.Start(s.app(service, name))
	if err != nil {
		return nil, err
	}
	in := &Instance{Name: name, App: app}
	in.Sidecar, err = s.stage.Start(lab.Spec{
		Name: name + ".sidecar",
		Path: filepath.Join(s.opts.Bin, "sidecar"),
		Args: []string{"run", "-c", name + ".sidecar.yaml"},
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.instances[name] = in
	s.mu.Unlock()
	return in, errors.Join(
		s.await(ctx, in.App, s.answers(name)),
		s.await(ctx, in.Sidecar, healthy("http://"+s.Addr(name+" admin")+"/healthz")),
	)
}

// app is how the app of a service is started: by its language, or by the
// quickstart itself.
func (s *Shop) app(service, name string) lab.Spec {
	addr := s.Addr(name + " app")
	spec := lab.Spec{
		Name: name,
		Path: filepath.Join(s.opts.Bin, "quickstart"),
		Args: []string{"app", service},
		Env:  []string{"LISTEN=" + addr, "INSTANCE=" + name, "STATE=" + filepath.Join(s.Dir(), name)},
	}
	if outbound := s.Addr(name + " outbound"); outbound != "" {
		spec.Env = append(spec.Env, "OUTBOUND=http://"+outbound)
	}
	for _, l := range s.opts.Languages {
		if l.Service == service {
			spec.Path, spec.Args = l.Path, l.args(addr)
			spec.Env = append(spec.Env, l.env...)
		}
	}
	return spec
}

// healthy is the condition that url answers with status 200.
func healthy(url string) func(context.Context) error {
	return func(ctx context.Context) error { return lab.Healthy(ctx, url) }
}

// answers is the condition that an app answers, and not another program that
// has its address.
func (s *Shop) answers(name string) func(context.Context) error {
	addr := s.Addr(name + " app")
	return func(ctx context.Context) error {
		var got lab.Stats
		err := lab.GetJSON(ctx, "http://"+addr+"/stats", &got)
		if err == nil && got.Instance != name {
			err = fmt.Errorf("%s is not %s but %q", addr, name, got.Instance)
		}
		return err
	}
}

func (s *Shop) await(ctx context.Context, p *lab.Process, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := p.Await(ctx, cond); err != nil {
		return &ProcessError{Process: p, Err: fmt.Errorf("%s does not work: %w", p.Name, err)}
	}
	return nil
}

// Instance is the instance of that name; nil before it was started.
func (s *Shop) Instance(name string) *Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[name]
}

// Processes are all that were started, dead or alive, in no order.
func (s *Shop) Processes() []*lab.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []*lab.Process{s.ControlPlane, s.Gateway, s.Sync}
	for _, in := range s.instances {
		all = append(all, in.App, in.Sidecar)
	}
	return all
}

// Kill ends an instance, app and sidecar, by SIGKILL.
func (in *Instance) Kill() {
	in.App.Kill()
	in.Sidecar.Kill()
}

// ProcessError is an error whose reason the log of a process may tell.
type ProcessError struct {
	Process *lab.Process
	Err     error
}

// Error is the text of Err.
func (e *ProcessError) Error() string { return e.Err.Error() }

// Unwrap is Err.
func (e *ProcessError) Unwrap() error { return e.Err }
