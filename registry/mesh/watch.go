package mesh

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

// The actions of Go-Micro's watchers.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
)

// watcher compares what it has told with what is: nothing is queued for a slow
// reader, and no event of a batch is lost. What came and went between two
// calls of Next was never seen.
type watcher struct {
	r    *reader
	ctx  context.Context // Go-Micro gives it to Watch, not to Next
	stop chan struct{}
	once sync.Once

	name registry.ServiceName // of the one service
	port uint16
	all  bool // every service

	mu    sync.Mutex // one Next at a time
	told  map[string]view
	queue []*microregistry.Result
}

// view is what was told of one port's endpoints.
type view struct {
	revision  uint64
	instances map[registry.InstanceKey]registry.Instance
}

// Watch follows one service, or all. What is there already comes first, as
// created, so that no change falls between a look-up and a watch. Each event
// is about one node.
func (r *Registry) Watch(opts ...microregistry.WatchOption) (microregistry.Watcher, error) {
	var o microregistry.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	w := &watcher{ctx: o.Context, stop: make(chan struct{}), all: o.Service == "", told: map[string]view{}}
	if !w.all {
		var err error
		if w.name, w.port, err = micro.ParseServiceName(o.Service); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
	}
	rd, err := r.openReader()
	if err != nil {
		return nil, err
	}
	w.r = rd
	rd.watch(w)
	return w, nil
}

func (r *reader) watch(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.port != 0 {
		e := r.ask(w.name.PortName(w.port))
		e.single = true
		e.watched++
		return
	}
	r.names()
	ports := r.services[w.name]
	if w.all {
		r.watchers++
		ports = slices.Collect(maps.Keys(r.ports))
	} else {
		r.follow[w.name] = struct{}{}
	}
	for _, p := range ports {
		r.ask(p)
	}
}

// unwatch lets go of what only a watcher of everything wanted.
func (r *reader) unwatch(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.port != 0 {
		port := w.name.PortName(w.port)
		r.ends[port].watched--
		r.release([]string{port})
	}
	if !w.all {
		return
	}
	if r.watchers--; r.watchers > 0 {
		return
	}
	for port, e := range r.ends {
		name, _, _ := registry.ParsePortName(port) // it parsed when it appeared
		if _, followed := r.follow[name]; !followed && !e.single {
			r.forget(port)
		}
	}
}

// Next waits for the next event.
func (w *watcher) Next() (*microregistry.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		select {
		case <-w.stop:
			return nil, microregistry.ErrWatcherStopped
		default:
		}
		if len(w.queue) > 0 {
			next := w.queue[0]
			w.queue = slices.Delete(w.queue, 0, 1)
			return next, nil
		}
		changed := w.compare()
		if len(w.queue) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-w.stop:
		case <-w.r.ended:
			return nil, microregistry.ErrWatcherStopped
		case <-w.ctx.Done():
			return nil, fmt.Errorf("%w: %w", microregistry.ErrWatcherStopped, w.ctx.Err())
		}
	}
}

// Stop ends the watch, and a Next that waits.
func (w *watcher) Stop() {
	w.once.Do(func() {
		close(w.stop)
		w.r.unwatch(w)
	})
}

// compare queues what is new, and returns what tells of the next change.
func (w *watcher) compare() <-chan struct{} {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	for _, p := range w.ports() {
		e := w.r.ends[p]
		if e == nil || !e.known || e.revision == w.told[p].revision {
			continue
		}
		now := make(map[registry.InstanceKey]registry.Instance, len(e.instances))
		for _, i := range e.instances {
			now[i.InstanceKey] = i
		}
		w.diff(w.told[p].instances, now)
		w.told[p] = view{revision: e.revision, instances: now}
	}
	for p, v := range w.told {
		if !w.covers(p) {
			w.diff(v.instances, nil)
			delete(w.told, p)
		}
	}
	return w.r.changed
}

// ports are those that the watch is about; the reader's lock is held.
func (w *watcher) ports() []string {
	switch {
	case w.port != 0:
		return []string{w.name.PortName(w.port)}
	case w.all:
		return slices.Sorted(maps.Keys(w.r.ports))
	}
	return w.r.services[w.name]
}

// covers reports whether a port told of is there still; the reader's lock is
// held. One that is watched by itself always is.
func (w *watcher) covers(port string) bool {
	_, ok := w.r.ports[port]
	return ok || w.port != 0
}

// diff queues events, new nodes before those that went.
func (w *watcher) diff(old, now map[registry.InstanceKey]registry.Instance) {
	for _, k := range slices.SortedFunc(maps.Keys(now), registry.InstanceKey.Compare) {
		was, had := old[k]
		switch is := now[k]; {
		case !had:
			w.push(actionCreate, is)
		case reflect.DeepEqual(was, is):
		case was.Version != is.Version: // another Service, to Go-Micro
			w.push(actionCreate, is)
			w.push(actionDelete, was)
		default:
			w.push(actionUpdate, is)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(old), registry.InstanceKey.Compare) {
		if _, ok := now[k]; !ok {
			w.push(actionDelete, old[k])
		}
	}
}

func (w *watcher) push(action string, i registry.Instance) {
	w.queue = append(w.queue, &microregistry.Result{Action: action, Service: micro.Services(i)[0]})
}
