// Package mesh holds the state of the model: one goroutine merges what the
// sources say by stable identity and publishes immutable snapshots, with what
// changed in each. Nothing is published before every source has synced, so that
// nobody ever sees a world emptier than the one that is known.
//
// The merge is level-triggered and never debounced: whatever waits in the
// channel is taken at once and published as one change, so that a burst costs
// few publications and a single update waits for nothing.
package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

// batch bounds how many waiting updates are taken into one publication.
const batch = 1024

// Options is what a Mesh needs.
type Options struct {
	Logger *slog.Logger
	// Sources are the names of the sources that must have synced before
	// anything is published, in the order of their precedence: where two
	// sources know the same instance, the first one's word holds.
	Sources []string
	// Publish takes each change, from the mesh's goroutine: the next one waits
	// until it returns.
	Publish func(Change)
	Metrics prometheus.Registerer
}

// Mesh is the model's state.
type Mesh struct {
	log     *slog.Logger
	publish func(Change)
	rank    map[string]int

	hosts *Hosts

	// Owned by Run's goroutine.
	waiting map[string]struct{} // sources that have not synced
	open    map[string]struct{} // sources in the middle of a change
	state   *state
	done    []func() // of updates not yet published

	sourcesMu sync.Mutex
	sources   []SourceStatus // by rank

	current atomic.Pointer[Snapshot]
	ready   chan struct{}
	metrics *metrics
}

// New makes a Mesh that knows nothing yet.
func New(o Options) *Mesh {
	m := &Mesh{
		log:     o.Logger.With("component", "mesh"),
		publish: o.Publish,
		rank:    map[string]int{},
		waiting: map[string]struct{}{},
		open:    map[string]struct{}{},
		hosts:   newHosts(),
		ready:   make(chan struct{}),
	}
	for i, name := range o.Sources {
		m.rank[name] = i
		m.waiting[name] = struct{}{}
		m.sources = append(m.sources, SourceStatus{Name: name})
	}
	m.state = newState(m.log, m.rank, m.hosts)
	m.current.Store(&Snapshot{Services: map[registry.ServiceName]*Service{}})
	m.metrics = newMetrics(o.Metrics, m)
	return m
}

// Snapshot is the model as last published; empty before Ready.
func (m *Mesh) Snapshot() *Snapshot { return m.current.Load() }

// Hosts are the machines that are known.
func (m *Mesh) Hosts() *Hosts { return m.hosts }

// Ready is closed once the first snapshot was published.
func (m *Mesh) Ready() <-chan struct{} { return m.ready }

// Run merges and publishes until ctx ends. An update of a source that was not
// named in Options is an error.
func (m *Mesh) Run(ctx context.Context, updates <-chan source.Update) error {
	if len(m.waiting) == 0 {
		m.flush()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-updates:
			if err := m.take(u); err != nil {
				return err
			}
		}
		if err := m.takeWaiting(ctx, updates); err != nil {
			return err
		}
		if len(m.waiting) == 0 && len(m.open) == 0 {
			m.flush()
		}
	}
}

// takeWaiting takes what waits, up to a batch of updates, and all that belongs
// to a change of which a part was taken.
func (m *Mesh) takeWaiting(ctx context.Context, updates <-chan source.Update) error {
	for n := 1; n < batch || len(m.open) > 0; n++ {
		select {
		case u := <-updates:
			if err := m.take(u); err != nil {
				return err
			}
			continue
		default:
		}
		if len(m.open) == 0 {
			return nil
		}
		select {
		case u := <-updates:
			if err := m.take(u); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (m *Mesh) take(u source.Update) error {
	rank, ok := m.rank[u.Source]
	if !ok {
		return fmt.Errorf("an update of key %q came from an unknown source %q", u.Key, u.Source)
	}
	if u.More {
		m.open[u.Source] = struct{}{}
	} else {
		delete(m.open, u.Source)
	}
	if u.Synced {
		if _, ok := m.waiting[u.Source]; ok {
			delete(m.waiting, u.Source)
			m.log.Debug("source synced", "source", u.Source)
		}
		m.noteSource(rank, 0, true)
		return nil
	}
	m.noteSource(rank, m.state.apply(u), false)
	if u.Done != nil {
		m.done = append(m.done, u.Done)
	}
	return nil
}

// flush publishes what changed since the last time, and tells those who wait.
func (m *Mesh) flush() {
	old := m.current.Load()
	first := !m.isReady()
	if change, ok := m.state.change(old); ok || first {
		m.current.Store(change.New)
		m.publish(change)
		m.metrics.publications.Inc()
	}
	if first {
		close(m.ready)
	}
	for _, done := range m.done {
		done()
	}
	clear(m.done)
	m.done = m.done[:0]
}

func (m *Mesh) isReady() bool {
	select {
	case <-m.ready:
		return true
	default:
		return false
	}
}
