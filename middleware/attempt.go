package middleware

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/balance/ewma"
)

// Stats counts what goes on at an endpoint. It lives as long as the endpoint's
// key is known, over every snapshot.
type Stats struct {
	Active   atomic.Int64  // attempts that run, until the end of their response's body
	Attempts atomic.Uint64 // ever
	Failures atomic.Uint64 // ever: no response head, or a broken body
	Latency  ewma.Peak     // until the response head, while a balancer goes by it
}

// Endpoint is one place that a request can be sent to. It does not change; a
// snapshot with other data brings a new Endpoint with the same Key and Stats.
type Endpoint struct {
	Key          string // identifies it over snapshots
	Address      string // host:port
	Region, Zone string
	Weight       uint32 // relative; at least 1
	Priority     uint32
	Draining     bool // takes nothing new unless all are
	Stats        *Stats
	Transport    TryHandler // the end of the attempt stage for this endpoint
}

// Stream is a transport's hold on an attempt: its connection, or its HTTP/2
// stream.
type Stream interface {
	// Interrupt ends every blocked read and write, with the cause. It may be
	// called from any goroutine, never blocks, and is not called after Finish.
	Interrupt(cause error)
	// Finish is the end of the attempt: the connection goes back to its pool
	// if it is in order, else it is closed. It runs once.
	Finish()
}

// Attempt is one try to get the request answered.
type Attempt struct {
	Number   int // 0 for the first
	Endpoint *Endpoint
	Response Response
	Start    time.Time

	x         *Exchange
	body      BodyReader
	stream    Stream
	done      []TryDoner
	slots     slots
	timer     *time.Timer
	deadline  time.Time
	err       error // what the try failed with
	cause     error // what it was canceled with
	running   bool
	ended     bool // Try has returned
	headed    bool // and brought a response
	finished  bool
	lost      bool // not wanted any more: its goroutine finishes it
	committed bool
	sent      atomic.Bool
	unsent    atomic.Bool
}

// Exchange is the request that this is a try of. Past the router it is to be
// read only.
func (a *Attempt) Exchange() *Exchange { return a.x }

// Body is this try's way through the request's body, from its beginning.
func (a *Attempt) Body() *BodyReader { return &a.body }

// Err is why the attempt failed: nil while it runs and when it went well.
func (a *Attempt) Err() error {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.cause != nil {
		return a.cause
	}
	return a.err
}

// Running reports whether the attempt has been started and has not come back
// with a head or an error.
func (a *Attempt) Running() bool {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	return a.running && !a.ended
}

// Status is the status of the response, also of one that was discarded; 0 where
// none came.
func (a *Attempt) Status() int {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if !a.headed {
		return 0
	}
	return a.Response.Status
}

// Committed reports whether this attempt's response is the exchange's.
func (a *Attempt) Committed() bool { return a.committed }

// MarkSent is called by the transport before the first byte of the request goes
// out.
func (a *Attempt) MarkSent() {
	a.sent.Store(true)
	if a.unsent.Load() {
		a.unsent.Store(false)
	}
}

// MarkUnsent is called by the transport when it has turned out that the request
// was not handed to an app: because the other side says so, or because nothing
// could be sent after all.
func (a *Attempt) MarkUnsent() { a.unsent.Store(true) }

// Unsent reports that it is certain that no byte of the request has reached an
// app: then even a request that is not safe may be tried again.
func (a *Attempt) Unsent() bool { return a.unsent.Load() || !a.sent.Load() }

// Bind ties the transport's stream to the attempt, so that cancellation reaches
// it and Finish is called in the end. When the attempt was canceled before, it
// returns the cause, and the transport keeps the stream.
func (a *Attempt) Bind(s Stream) error {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.cause != nil {
		return a.cause
	}
	a.stream = s
	return nil
}

// Unbind takes the stream back: for a transport that goes on with another one.
// After it neither Interrupt nor Finish is called on the stream.
func (a *Attempt) Unbind() {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	a.stream = nil
}

// SetDeadline limits the time until the response head of this try is there.
// An earlier limit that was set before stays.
func (a *Attempt) SetDeadline(t time.Time) {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if !a.deadline.IsZero() && a.deadline.Before(t) {
		return
	}
	a.deadline = t
	if a.timer == nil {
		a.timer = time.AfterFunc(time.Until(t), a.onTimer)
	} else {
		a.timer.Reset(time.Until(t))
	}
}

// onTimer may run late, when the attempt serves another request: only the
// deadline of now counts.
func (a *Attempt) onTimer() {
	a.x.mu.Lock()
	defer a.x.mu.Unlock()
	if a.deadline.IsZero() || a.ended {
		return
	}
	if left := time.Until(a.deadline); left > 0 {
		a.timer.Reset(left)
		return
	}
	a.cancelLocked(ErrTryTimeout)
}

// Inform relays an interim response (1xx, RFC 9110, section 15.2) to the
// client. While several attempts run it does nothing.
func (a *Attempt) Inform(status int, h *Header) error {
	if a.x.hedged {
		return nil
	}
	return a.x.wire.Inform(status, h)
}

func (a *Attempt) cancelLocked(cause error) {
	if a.cause != nil || a.finished {
		return
	}
	a.cause = cause
	if a.stream != nil {
		a.stream.Interrupt(cause)
	}
}

// reset makes a the next attempt of its exchange. It leaves a.x alone, which a
// late timer may read.
func (a *Attempt) reset(number int) {
	a.Number = number
	a.Endpoint, a.stream, a.err, a.cause = nil, nil, nil, nil
	a.Response.reset()
	a.Start, a.deadline = time.Time{}, time.Time{}
	a.running, a.ended, a.headed, a.finished, a.lost, a.committed = false, false, false, false, false, false
	a.sent.Store(false)
	a.unsent.Store(false)
	a.body.body, a.body.off = &a.x.Request.Body, 0
	a.body.abandoned.Store(false)
	a.done = a.done[:0]
	a.slots.reset()
}

// run is the try itself: what happens between start and head.
func (a *Attempt) run(h TryHandler) {
	a.Start = time.Now()
	a.Endpoint.Stats.Active.Add(1)
	a.Endpoint.Stats.Attempts.Add(1)
	err := a.try(h)
	x := a.x
	x.mu.Lock()
	a.ended = true
	a.headed = err == nil
	a.err = err
	if a.cause != nil { // also where a head came: its stream is interrupted
		a.err = a.cause
	}
	a.deadline = time.Time{} // it was for the head
	err = a.err              // from here on finish may set it, on another goroutine
	x.mu.Unlock()
	if l := &a.Endpoint.Stats.Latency; l.Tracked() {
		a.observe(l, err)
	}
}

// observe tells how long the head took. A status that says that the endpoint
// could not serve counts as a failure, and so does what the attempt stage
// refuses; an attempt that was given up has shown that its head takes longer.
func (a *Attempt) observe(l *ewma.Peak, err error) {
	now := time.Now()
	took := now.Sub(a.Start)
	if err != nil && !failure(err) {
		if !poolFull(err) { // it was not sent: there is nothing to learn from how long that took
			l.ObserveAtLeast(now, took)
		}
		return
	}
	status := a.Response.Status
	if code, ok := a.GRPCStatus(); ok {
		status = code.HTTP()
	}
	l.Observe(now, took, err != nil || status >= 502 && status <= 504)
}

// failure reports whether an attempt that ended with err speaks against its
// endpoint: not when it was us, or the client, who gave it up, and not when the
// limits of the service's connections left no room for it.
func failure(err error) bool {
	return err != nil && !errors.Is(err, ErrLost) && !errors.Is(err, ErrEnded) && !errors.Is(err, ErrDiscarded) &&
		!errors.Is(err, ErrClientGone) && !poolFull(err)
}

func poolFull(err error) bool {
	var reject *Reject
	return errors.As(err, &reject) && reject.Reason == ReasonPoolFull
}

// finish is the end of the attempt for its handlers, however it went. It has an
// effect once, and never runs beside the attempt's Try. Its response's header
// stays valid until release.
func (a *Attempt) finish(err error) {
	x := a.x
	x.mu.Lock()
	if a.finished {
		x.mu.Unlock()
		return
	}
	a.finished = true
	a.deadline = time.Time{}
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.err == nil && a.cause == nil {
		a.err = err
	}
	failed := failure(a.err) && (a.cause == nil || failure(a.cause))
	a.body.abandoned.Store(true)
	x.mu.Unlock()

	if !a.committed && a.Response.Body != nil { // of the committed one it is the exchange's
		x.guard(func() { _ = a.Response.Body.Close() })
	}
	for i := len(a.done) - 1; i >= 0; i-- {
		x.guard(func() { a.done[i].TryDone(a) })
	}
	if a.Endpoint != nil && !a.Start.IsZero() {
		a.Endpoint.Stats.Active.Add(-1)
		if failed {
			a.Endpoint.Stats.Failures.Add(1)
		}
	}
}

// release gives the stream back. From then on the response's header fields are
// void.
func (a *Attempt) release() {
	a.x.mu.Lock()
	stream := a.stream
	a.stream = nil
	a.x.mu.Unlock()
	if stream != nil {
		stream.Finish()
	}
}

// discard is finish and release, for an attempt whose response nobody reads.
func (a *Attempt) discard(err error) {
	a.finish(err)
	a.release()
}
