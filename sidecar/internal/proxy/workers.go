package proxy

import (
	"sync"
	"time"
)

// workers are the goroutines that serve the streams of one connection. Each
// serves one stream after the other: a new goroutine begins with a stack of
// 2 KiB, and a request through a chain needs more, so that making one for each
// stream was a quarter of the CPU that a stream took.
type workers struct {
	run func(*stream2)
	all sync.WaitGroup

	mu     sync.Mutex // guards what follows
	idle   []*worker  // the one that was used last is at the end
	timer  *time.Timer
	ending bool
}

type worker struct {
	work  chan *stream2 // closed: it is not needed
	since time.Time     // when it became idle
}

// workerIdle is how long a goroutine is kept that has nothing to do.
const workerIdle = 2 * time.Second

// do has a stream served by a goroutine that is free, or a new one.
func (w *workers) do(st *stream2) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		w.all.Go(func() { w.loop(st) })
		return
	}
	free := w.idle[n-1]
	free.since = time.Time{}
	w.idle[n-1] = nil
	w.idle = w.idle[:n-1]
	w.mu.Unlock()
	free.work <- st
}

func (w *workers) loop(st *stream2) {
	self := &worker{work: make(chan *stream2, 1)}
	for ok := true; ok; st, ok = <-self.work {
		w.run(st)
		if !w.rest(self) {
			return
		}
	}
}

// rest puts a goroutine among those that are free; false: it is not needed.
func (w *workers) rest(self *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return false
	}
	w.idle = append(w.idle, self)
	if len(w.idle) == 1 { // it may be long before another one comes
		self.since = time.Now()
		w.tick(workerIdle)
	}
	return true
}

func (w *workers) tick(d time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.prune)
	} else {
		w.timer.Reset(d)
	}
}

// prune ends goroutines that were idle at the last look too. Those that are in
// use lie at the end.
func (w *workers) prune() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	kept := w.idle[:0]
	for _, x := range w.idle {
		switch {
		case x.since.IsZero():
			x.since = now
			kept = append(kept, x)
		case now.Sub(x.since) >= workerIdle:
			close(x.work)
		default:
			kept = append(kept, x)
		}
	}
	clear(w.idle[len(kept):])
	w.idle = kept
	if len(kept) > 0 {
		w.tick(workerIdle)
	}
}

// end waits for every goroutine. Nothing is done after it.
func (w *workers) end() {
	w.mu.Lock()
	w.ending = true
	for _, x := range w.idle {
		close(x.work)
	}
	w.idle = nil
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.all.Wait()
}
