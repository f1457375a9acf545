package accesslog

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

const (
	pendingBytes = 512 << 10              // that may wait in one part of the queue
	urgentBytes  = 64 << 10               // that are written at once
	keptBytes    = 128 << 10              // of memory that a part keeps
	flushAfter   = 100 * time.Millisecond // a line waits no longer for others
	checkEvery   = time.Second            // at least, between two looks for a rotated file, or two tries to open it
	closeWithin  = 5 * time.Second        // for a destination that takes nothing
	fileMode     = os.FileMode(0o640)     // the log holds addresses and paths
)

// Writer writes lines to one destination, from one goroutine, which starts with
// the first line, as the file is opened with it. Lines wait for each other for a
// moment and are written together: waking the goroutine for each would cost
// more than all the rest of it.
type Writer struct {
	path    string // empty: the standard output
	log     *slog.Logger
	queue   [queueParts]queue
	waiting atomic.Bool   // wake was sent and not yet followed by a look at the queue
	wake    chan struct{} // a line has come
	urgent  chan struct{} // many have
	quit    chan struct{}
	done    chan struct{}
	start   sync.Once
	started atomic.Bool
	dropped prometheus.Counter
	stdout  io.Writer

	registration sync.Once
	registered   error
	unregister   func()

	// The goroutine's own.
	file    *os.File
	checked time.Time
	failing bool
}

// queueParts is how many parts the queue has, each with its lock. A connection's
// lines all go into one, so that they stay in order.
const queueParts = 8

// queue is lines that wait.
type queue struct {
	mu    sync.Mutex
	buf   []byte
	lines int
	spare []byte   // what buf was before, to be used again
	_     [64]byte // so that parts do not share cache lines
}

// put appends a line; it returns how many bytes wait now, 0 when the line was
// not taken.
func (q *queue) put(line []byte) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.buf)+len(line) > pendingBytes {
		return 0
	}
	q.buf = append(q.buf, line...)
	q.lines++
	return len(q.buf)
}

// take takes all lines out.
func (q *queue) take() (buf []byte, lines int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	buf, lines = q.buf, q.lines
	q.buf, q.lines, q.spare = q.spare[:0], 0, nil
	return buf, lines
}

// keep takes memory back that take gave.
func (q *queue) keep(buf []byte) {
	if cap(buf) > keptBytes {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = buf[:0]
}

// NewWriter makes a writer to the file at path, or to the standard output where
// it is empty. It opens nothing yet.
func NewWriter(path string, log *slog.Logger) *Writer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	name := path
	if name == "" {
		name = "stdout"
	}
	return &Writer{
		path:   path,
		log:    log,
		wake:   make(chan struct{}, 1),
		urgent: make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
		stdout: os.Stdout,
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "outrigger_accesslog_dropped_total",
			Help:        "Access log lines that were not written: the queue was full, or the destination failed.",
			ConstLabels: prometheus.Labels{"file": name},
		}),
	}
}

// register makes the counter of dropped lines known, once.
func (w *Writer) register(r prometheus.Registerer) error {
	w.registration.Do(func() {
		w.dropped, w.unregister, w.registered = middleware.Register(r, w.dropped)
	})
	return w.registered
}

// put hands a line over, or drops it. Lines with the same key stay in order.
func (w *Writer) put(key uint16, line []byte) {
	if !w.started.Load() {
		w.start.Do(func() {
			w.started.Store(true)
			go w.run()
		})
	}
	n := w.queue[key%queueParts].put(line)
	switch {
	case n == 0:
		w.dropped.Inc()
	case n >= urgentBytes && n-len(line) < urgentBytes:
		signal(w.urgent)
	case !w.waiting.Load() && w.waiting.CompareAndSwap(false, true):
		signal(w.wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it was told already
	}
}

// Close writes what was handed over and ends. Nothing may be handed over any
// more.
func (w *Writer) Close() error {
	if w.unregister != nil {
		w.unregister()
	}
	if !w.started.Load() {
		return nil
	}
	close(w.quit)
	select {
	case <-w.done:
		return nil
	case <-time.After(closeWithin):
		return errors.New("access log: the destination takes nothing; lines are lost")
	}
}

func (w *Writer) run() {
	defer close(w.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-w.urgent:
		case <-w.wake:
			pause.Reset(flushAfter)
			select {
			case <-pause.C:
			case <-w.urgent:
			case <-w.quit: // seen again below
			}
		case <-w.quit:
			w.flush()
			w.closeFile()
			return
		}
		w.waiting.Store(false)
		w.flush()
	}
}

// flush writes all that waits.
func (w *Writer) flush() {
	ready := w.ready()
	for i := range w.queue {
		q := &w.queue[i]
		buf, lines := q.take()
		if lines == 0 {
			q.keep(buf)
			continue
		}
		if !ready {
			w.dropped.Add(float64(lines))
		} else if _, err := w.write(buf); err != nil {
			w.dropped.Add(float64(lines)) // some may have been written: rather too many counted
			w.fail(err)
			w.closeFile()
			ready = false
		} else {
			w.failing = false
		}
		q.keep(buf)
	}
}

func (w *Writer) write(b []byte) (int, error) {
	if w.file == nil {
		return w.stdout.Write(b)
	}
	return w.file.Write(b)
}

// ready makes sure that there is something to write to, and looks from time to
// time whether the file is still the one at its path: who rotates a log moves
// it away.
func (w *Writer) ready() bool {
	if w.path == "" {
		return true
	}
	now := time.Now()
	if now.Sub(w.checked) < checkEvery {
		return w.file != nil
	}
	w.checked = now
	if w.file != nil && !w.moved() {
		return true
	}
	w.closeFile()
	file, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, fileMode)
	if err != nil {
		w.fail(err)
		return false
	}
	w.file = file
	return true
}

func (w *Writer) moved() bool {
	open, err := w.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(w.path)
	return err != nil || !os.SameFile(open, there)
}

func (w *Writer) closeFile() {
	if w.file != nil {
		_ = w.file.Close()
		w.file = nil
	}
}

// fail says once that the destination fails, until it works again.
func (w *Writer) fail(err error) {
	if !w.failing {
		w.failing = true
		w.log.Error("access log cannot be written; lines are dropped until it can", "error", err)
	}
}
