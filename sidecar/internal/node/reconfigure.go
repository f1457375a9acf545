package node

import (
	"context"
	"errors"
	"reflect"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// reconfigure reads the configuration and puts all of it in force, or nothing
// and says what is wrong with it. What can fail comes before the first change.
func (s *Node) reconfigure(ctx context.Context) error {
	old := s.config.Load()
	next, err := s.o.Load()
	if err != nil {
		return err
	}
	next.KeepID(old.Node.ID)
	if err := needRestart(old, next); err != nil {
		return err
	}
	plan, err := s.tls.prepare(next)
	if err != nil {
		return err
	}
	lists, err := s.buildProgram(next)
	if err != nil {
		return err
	}
	change, err := s.doors.prepare(wishes(next), nil)
	if err != nil {
		return errors.Join(err, lists.generation.Close())
	}
	service := s.member.service
	if next.App != nil {
		if service, err = instances(next, change.bound()); err != nil {
			change.undo()
			return errors.Join(err, lists.generation.Close())
		}
	}

	s.config.Store(next)
	s.tls.commit(plan)
	s.setForeign(next)
	s.setGateway(next)
	ports := s.setPorts(next)
	// Names and routes were validated: an error would be a defect, and is said.
	err = errors.Join(s.setUpstreams(old, next), s.putProgram(lists))
	if path, _ := next.MiddlewareFile(); path != s.reloadProxy.path {
		s.reloadProxy.follow(path)
	}
	s.setLevel(old, next)
	s.doors.commit(change)
	for _, d := range change.fresh {
		d.open(s.server(d.wish), s.doors.failed)
		s.o.Logger.Info("listener opened", "listener", d.name(), "address", d.ln.Addr().String())
	}
	if next.App != nil {
		s.reregister(ctx, old, next, service)
	}
	s.retire(change.gone, func() { s.forgetPorts(ports) })
	return err
}

// reregister brings what the mesh knows of the app in step, before addresses
// that it has go away.
func (s *Node) reregister(ctx context.Context, old, next *config.Config, service *microregistry.Service) {
	ctx, cancel := context.WithTimeout(ctx, deregisterTimeout)
	defer cancel()
	if err := s.member.update(ctx, service); err != nil {
		s.o.Logger.Warn("the changed registration was not taken", "error", err)
	}
	if !reflect.DeepEqual(old.App.HealthCheck(), next.App.HealthCheck()) {
		s.member.watch(s.healthOptions(next))
	}
}

// forgetPorts gives up the connections to ports that the app has no more,
// unless they came back meanwhile.
func (s *Node) forgetPorts(names []string) {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, name := range names {
		if s.apps[name] == nil {
			s.clusters.Remove(appCluster(name))
		}
	}
}

// setLevel follows the file where that has changed: what was set on the admin
// port stays otherwise.
func (s *Node) setLevel(old, next *config.Config) {
	if s.o.Level == nil || old.Log.Level == next.Log.Level {
		return
	}
	if level, err := run.ParseLevel(next.Log.Level); err == nil { // it was validated
		s.o.Level.Set(level)
	}
}

// needRestart says which keys a running process cannot change, each with its
// place in the file.
func needRestart(old, next *config.Config) error {
	keys := old.NeedRestart(next)
	if len(keys) == 0 {
		return nil
	}
	identity := next.Identity()
	file, _ := conf.Load(next.File) // it has just been read; without it, places are missing
	var errs []error
	for _, key := range keys {
		how := "a restart, or sidecar upgrade"
		if _, ok := identity[key]; ok {
			how = "a restart"
		}
		pos := conf.Pos{File: next.File, Line: 1, Col: 1}
		if n := file.At(key); !n.IsZero() {
			pos = n.Pos()
		}
		errs = append(errs, &conf.Error{Pos: pos, Msg: key + ": cannot change while the sidecar runs: that needs " + how})
	}
	return conf.Join(errs...)
}
