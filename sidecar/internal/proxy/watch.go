package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// How long a request has to be under way before its client is watched: what is
// answered sooner costs nothing. On a connection with one request after the
// other the time grows, so that looking costs little there too.
const (
	watchAfter  = 20 * time.Millisecond
	watchAtMost = 320 * time.Millisecond
)

// watcher notices that the client goes away while its request is being served,
// so that the work for it can end. It looks at the connection without taking
// bytes; when the next request is there already, it sees no further.
//
// It belongs to a stream. Its timer is not set for each request: once set, it
// fires in its own time and looks whether the request is still the same as the
// last time.
type watcher struct {
	st *stream

	request atomic.Uint64 // counts arm
	state   atomic.Uint32 // watchOff ...
	ticking atomic.Bool   // the timer is set, or its function runs

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	seen  uint64 // request at the last tick
	every time.Duration
	done  chan struct{} // of the look that is running
}

const (
	watchOff     uint32 = iota // no request, or not to be watched
	watchOn                    // a request is under way
	watchLooking               // and the watcher reads the connection
)

// arm begins the watch over a request.
func (w *watcher) arm() {
	w.request.Add(1)
	w.state.Store(watchOn)
	if !w.ticking.Load() && w.ticking.CompareAndSwap(false, true) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.every = watchAfter
		w.set()
	}
}

func (w *watcher) set() {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.every, w.tick)
	} else {
		w.timer.Reset(w.every)
	}
}

// tick runs on a goroutine of its own; when it looks, for as long as the
// request takes.
func (w *watcher) tick() {
	w.mu.Lock()
	if w.state.Load() != watchOn {
		w.ticking.Store(false)
		// A request that has come just now has seen the timer ticking.
		if w.state.Load() == watchOn && w.ticking.CompareAndSwap(false, true) {
			w.set()
		}
		w.mu.Unlock()
		return
	}
	if request := w.request.Load(); request != w.seen { // another one than the last time
		if w.seen != 0 && request > w.seen+1 {
			w.every = min(2*w.every, watchAtMost)
		}
		w.seen = request
		w.set()
		w.mu.Unlock()
		return
	}
	w.look()
}

// look reads the connection's end. w.mu is held; look gives it back.
func (w *watcher) look() {
	// While the state is watchLooking the request does not end, and the stream
	// stays with its connection.
	if !w.state.CompareAndSwap(watchOn, watchLooking) {
		w.set()
		w.mu.Unlock()
		return
	}
	if !w.st.body.complete() { // who reads the body sees the client go
		w.state.Store(watchOn)
		w.set()
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.done = done
	w.mu.Unlock()
	if w.st.c.nc.AwaitEnd() {
		w.st.x.Cancel(middleware.ErrClientGone)
	}
	w.mu.Lock()
	w.ticking.Store(false)
	w.mu.Unlock()
	close(done)
}

// disarm ends the watch; the connection can be read again.
func (w *watcher) disarm() {
	if w.state.CompareAndSwap(watchOn, watchOff) || w.state.Load() == watchOff {
		return
	}
	w.mu.Lock() // the watcher is about to look, or looks
	done := w.done
	w.done = nil
	w.mu.Unlock()
	if done != nil {
		w.st.c.nc.BreakRead()
		<-done
	}
	w.state.Store(watchOff)
}
