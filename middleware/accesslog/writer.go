package accesslog

import (
	"bufio"
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
	queueLength = 8192               // lines
	checkEvery  = time.Second        // at least, between two looks for a rotated file, or two tries to open it
	closeWithin = 5 * time.Second    // for a destination that takes nothing
	bufferSize  = 64 << 10           // bytes
	fileMode    = os.FileMode(0o640) // the log holds addresses and paths
)

// Writer writes lines to one destination, from one goroutine. The goroutine
// starts, and the file is opened, with the first line.
type Writer struct {
	path    string // empty: the standard output
	log     *slog.Logger
	queue   chan *line
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
	out     *bufio.Writer
	checked time.Time
	failing bool
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
		queue:  make(chan *line, queueLength),
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

// put hands a line over, or drops it. The memory is then the writer's.
func (w *Writer) put(l *line) {
	if !w.started.Load() {
		w.start.Do(func() {
			w.started.Store(true)
			go w.run()
		})
	}
	select {
	case w.queue <- l:
	default:
		w.dropped.Inc()
		putLine(l)
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
	w.out = bufio.NewWriterSize(io.Discard, bufferSize)
	for {
		select {
		case l := <-w.queue:
			w.batch(l)
		case <-w.quit:
			for len(w.queue) > 0 {
				w.batch(<-w.queue)
			}
			if w.file != nil {
				_ = w.file.Close()
			}
			return
		}
	}
}

// batch writes a line and those that wait behind it, and flushes.
func (w *Writer) batch(l *line) {
	ready := w.ready()
	n := 0
	for l != nil {
		if ready {
			_, _ = w.out.Write(l.buf) // the error stays until the flush
		}
		putLine(l)
		if n++; n == queueLength {
			break // it is time to look at the file again
		}
		select {
		case l = <-w.queue:
		default:
			l = nil
		}
	}
	if !ready {
		w.dropped.Add(float64(n))
		return
	}
	if err := w.out.Flush(); err != nil {
		w.dropped.Add(float64(n)) // some may have been written: rather too many counted
		w.fail(err)
		w.closeFile()
		return
	}
	w.failing = false
}

// ready makes sure that there is something to write to, and looks from time to
// time whether the file is still the one at its path: who rotates a log moves
// it away.
func (w *Writer) ready() bool {
	if w.path == "" {
		w.out.Reset(w.stdout)
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
	w.out.Reset(file)
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
