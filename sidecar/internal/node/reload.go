package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// reloadEvery is how often the middleware file is looked at. Looking is one
// stat; a file that was saved is in force well within a second.
const reloadEvery = 250 * time.Millisecond

// missingAfter is how many looks may find no file before that is a mistake.
const missingAfter = 8

// reloader keeps the middleware in step with its file. What is in the file is
// in force, or the last good content is and a person is told where the file is
// wrong: in the log, in a metric, and on the admin port, until it is mended.
type reloader struct {
	path    string // empty: the configuration holds the lists itself
	load    func() error
	metrics reloadMetrics

	missing int   // looks in a row that found no file, or an empty one
	stamp   stamp // of the file when it was last read
	sum     [sha256.Size]byte

	mu     sync.Mutex
	status ReloadStatus
}

// ReloadStatus is the middleware file in the admin's dump.
type ReloadStatus struct {
	File   string    `json:"file,omitempty"`
	Loaded time.Time `json:"loaded"` // when what is in force was read
	// Errors are the mistakes of what the file holds now; while there are
	// any, what was in force before still is.
	Errors []string `json:"errors,omitempty"`
}

// stamp tells whether a file was changed: renamed over, written, or its clock
// set back.
type stamp struct {
	info fs.FileInfo
}

func (s stamp) same(o fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, o) && s.info.ModTime().Equal(o.ModTime()) && s.info.Size() == o.Size()
}

type reloadMetrics struct {
	total *prometheus.CounterVec
	bad   prometheus.Gauge
}

func newReloadMetrics(r prometheus.Registerer) reloadMetrics {
	m := reloadMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_middleware_reloads_total", Help: "Times that a changed middleware file was read, by result (ok, failed).",
		}, []string{"result"}),
		bad: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_middleware_file_bad", Help: "1 while the middleware file holds mistakes and older content is in force.",
		}),
	}
	r.MustRegister(m.total, m.bad)
	return m
}

// Run looks at the file until ctx ends.
func (s *Node) runReload(ctx context.Context) error {
	r := s.reload
	if r.path == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if r.changed() {
				s.reloadMiddleware()
			}
		}
	}
}

// changed reports whether the file holds something else than when it was read.
// A file that is away, or empty, for the moment, as while an editor replaces
// it, has not changed; one that stays so is told of.
func (r *reloader) changed() bool {
	info, err := os.Stat(r.path)
	if err != nil || info.Size() == 0 {
		r.missing++
		if r.missing == missingAfter {
			r.stamp, r.sum = stamp{}, [sha256.Size]byte{}
			return true
		}
		return false
	}
	r.missing = 0
	if r.stamp.same(info) {
		return false
	}
	content, err := os.ReadFile(r.path)
	if err != nil || len(content) == 0 {
		return false
	}
	r.stamp = stamp{info}
	sum := sha256.Sum256(content)
	same := sum == r.sum
	r.sum = sum
	return !same
}

func (s *Node) reloadMiddleware() {
	r := s.reload
	err := r.load()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Errors = nil
	if err == nil {
		r.status.Loaded = time.Now()
		r.metrics.total.WithLabelValues("ok").Inc()
		r.metrics.bad.Set(0)
		s.component("middleware").Info("middleware file reloaded", "file", r.path)
		return
	}
	r.metrics.total.WithLabelValues("failed").Inc()
	r.metrics.bad.Set(1)
	var all conf.Errors
	if !errors.As(err, &all) {
		all = conf.Errors{{Msg: err.Error()}}
	}
	for _, e := range all {
		r.status.Errors = append(r.status.Errors, e.Error())
		s.component("middleware").Error("middleware file is wrong, what was in force stays", "error", e.Error())
	}
}

func (r *reloader) state() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// loadProgram reads the lists and puts the chains built of them in force.
func (s *Node) loadProgram() error {
	lists, err := parseMiddleware(s.config, s.o.Kinds)
	if err != nil {
		return err
	}
	if err := checkServices(lists); err != nil {
		return err
	}
	g := s.states.NewGeneration()
	p, err := newProgram(lists, middleware.Env{Logger: s.o.Logger, Metrics: s.metrics}, g)
	if err != nil {
		return errors.Join(err, g.Close())
	}
	s.generations.add(g, p, func(err error) {
		if err != nil {
			s.component("middleware").Warn("state of old middleware not closed in order", "error", err)
		}
	})
	s.program.Store(p)
	return s.rebuild()
}

// rebuild makes every table anew with the chains in force. Exchanges under way
// end in the chains that they began in.
func (s *Node) rebuild() error {
	errs := []error{s.directory.rebuild()}
	if s.gateway != nil {
		errs = append(errs, s.gateway.rebuild())
	}
	for _, in := range s.inboundPorts {
		in.rebuild()
	}
	return errors.Join(errs...)
}
