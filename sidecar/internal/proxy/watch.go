package proxy

import (
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// watchAfter is how long a request has to be under way before its client is
// watched: what is answered sooner costs nothing.
const watchAfter = 20 * time.Millisecond

// watcher notices that the client goes away while its request is being served,
// so that the work for it can end. It looks at the connection without taking
// bytes; when the next request is there already, it sees no further.
type watcher struct {
	c *conn

	mu    sync.Mutex
	timer *time.Timer
	of    *stream // the request that is watched; nil while there is none
	done  chan struct{}
}

func (w *watcher) arm(st *stream) {
	if w.c.raw == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of = st
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, w.look)
	} else {
		w.timer.Reset(watchAfter)
	}
}

// look runs on a goroutine of its own, for as long as the request takes.
func (w *watcher) look() {
	w.mu.Lock()
	st := w.of
	if st == nil || w.done != nil {
		w.mu.Unlock()
		return
	}
	if !st.body.complete() { // who reads the body sees the client go
		w.timer.Reset(watchAfter)
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.done = done
	_ = w.c.nc.SetReadDeadline(time.Time{})
	w.mu.Unlock()
	gone := w.c.peekEOF()
	if gone {
		st.x.Cancel(middleware.ErrClientGone)
	}
	close(done)
}

// disarm ends the watch; the connection can be read again.
func (w *watcher) disarm() {
	if w.c.raw == nil {
		return
	}
	w.mu.Lock()
	if w.of == nil {
		w.mu.Unlock()
		return
	}
	w.of = nil
	w.timer.Stop()
	done := w.done
	w.done = nil
	if done != nil {
		_ = w.c.nc.SetReadDeadline(past)
	}
	w.mu.Unlock()
	if done != nil {
		<-done
	}
}
