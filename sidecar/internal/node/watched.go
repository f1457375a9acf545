package node

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// missingAfter is how many looks may find no file before that is a mistake.
const missingAfter = 8

// settle is how long a changed file is left alone before it is read: a little
// less than the time between two looks, so that it is the second one at which it
// counts, also when that look comes early.
const settle = reloadEvery * 4 / 5

// againAfter is how many looks it takes until a file that is wrong is tried
// again as it is: it may name another file that was mended meanwhile, or a port
// that has become free.
const againAfter = 20

// reloader keeps what is in force in step with a file. What is in the file is
// in force, or the last good content is and a person is told where the file is
// wrong: in the log, in a metric, and on the admin port, until it is mended.
type reloader struct {
	what    string // for people, such as "middleware file"
	log     *slog.Logger
	metrics reloadMetrics
	retry   bool // a wrong file is tried again by itself

	path    string    // empty: there is no file
	missing int       // looks in a row that found no file, or an empty one
	stamp   stamp     // of the file when it was last read
	since   time.Time // when a look first found another one; zero: none has
	sum     [sha256.Size]byte
	wrong   int // looks since the file was found to be wrong

	mu     sync.Mutex
	status ReloadStatus
}

// ReloadStatus is a file that is reloaded in the admin's dump.
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

func newReloadMetrics(r prometheus.Registerer, name, what string) reloadMetrics {
	m := reloadMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_" + name + "_reloads_total", Help: "Times that a changed " + what + " was read, by result (ok, failed).",
		}, []string{"result"}),
		bad: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "outrigger_" + name + "_file_bad", Help: "1 while the " + what + " holds mistakes and older content is in force.",
		}),
	}
	r.MustRegister(m.total, m.bad)
	return m
}

// follow says which file it is. What is there now is taken for what is loaded.
func (r *reloader) follow(path string) {
	r.path, r.stamp, r.missing, r.since = path, stamp{}, 0, time.Time{}
	if path != "" {
		r.changed(true)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = ReloadStatus{File: path, Loaded: time.Now()}
}

// due reports whether the file has to be read again. With asked, it is to be
// read in any case, and what it holds now is what was read.
func (r *reloader) due(asked bool) bool {
	if r.path == "" {
		return false
	}
	if r.changed(asked) || asked {
		return true
	}
	if !r.retry || r.wrong == 0 {
		return false
	}
	r.wrong++
	return r.wrong%againAfter == 0
}

// changed reports whether the file holds something else than when it was read.
// A file that is away, or empty, for the moment, as while an editor replaces
// it, has not changed; one that stays so is told of.
//
// Another file counts from the second look on, or at once if asked: it may be
// written in place right now, and what is there of it may be valid by itself.
// Then it counts as it is, or one that changes all the time never would.
func (r *reloader) changed(asked bool) bool {
	info, err := os.Stat(r.path)
	if err != nil || info.Size() == 0 {
		r.missing++
		r.since = time.Time{}
		if r.missing == missingAfter {
			r.stamp, r.sum = stamp{}, [sha256.Size]byte{}
			return true
		}
		return false
	}
	r.missing = 0
	switch {
	case r.stamp.same(info):
		r.since = time.Time{}
		return false
	case asked:
	case r.since.IsZero():
		r.since = time.Now()
		return false
	case time.Since(r.since) < settle:
		return false
	}
	content, err := os.ReadFile(r.path)
	if err != nil || len(content) == 0 {
		return false
	}
	r.stamp, r.since = stamp{info}, time.Time{}
	sum := sha256.Sum256(content)
	same := sum == r.sum
	r.sum = sum
	return !same
}

// read keeps what became of reading the file.
func (r *reloader) read(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.status.Errors
	r.status.Errors, r.wrong = nil, 0
	if err == nil {
		r.status.Loaded = time.Now()
		r.metrics.total.WithLabelValues("ok").Inc()
		r.metrics.bad.Set(0)
		r.log.Info("file reloaded", "what", r.what, "file", r.path)
		return
	}
	r.wrong = 1
	r.metrics.total.WithLabelValues("failed").Inc()
	r.metrics.bad.Set(1)
	var all conf.Errors
	if !errors.As(err, &all) {
		all = conf.Errors{{Msg: err.Error()}}
	}
	for _, e := range all {
		r.status.Errors = append(r.status.Errors, e.Error())
	}
	if slices.Equal(old, r.status.Errors) {
		return // it has been said
	}
	for _, e := range r.status.Errors {
		r.log.Error("file is wrong, what was in force stays", "what", r.what, "error", e)
	}
}

func (r *reloader) state() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}
