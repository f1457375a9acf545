package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
)

// writer holds what this process registers and brings it to the control
// plane. One goroutine, run, sends; others queue changes and wait for them.
type writer struct {
	opts  Options
	log   *slog.Logger
	epoch int64
	wake  chan struct{} // says that the queue changed; holds one

	mu       sync.Mutex
	accepted set
	// maybe are the keys that the control plane may have: those accepted, and
	// those of messages that were sent and never answered.
	maybe   map[key]struct{}
	queue   []*change
	version uint64 // of the last message sent
	closed  bool
	status  WriterStatus
}

func newWriter(o Options, log *slog.Logger) *writer {
	return &writer{
		opts:     o,
		log:      log.With("node", o.Node, "server", o.Dial.Server),
		epoch:    time.Now().UnixNano(),
		wake:     make(chan struct{}, 1),
		accepted: set{},
		maybe:    map[key]struct{}{},
		status:   WriterStatus{Since: time.Now()},
	}
}

func (w *writer) register(ctx context.Context, instances []registry.Instance, ttl time.Duration) error {
	put := set{}
	for _, i := range instances {
		put[keyOf(i)] = entry{instance: i, ttl: max(ttl, 0)}
	}
	if len(put) == 0 {
		return nil
	}
	c, err := w.enqueue(&change{put: put})
	if err != nil {
		return err
	}
	return w.await(ctx, c, "register "+instances[0].Service.String())
}

func (w *writer) deregister(ctx context.Context, instances []registry.Instance) error {
	drop := map[key]struct{}{}
	for _, i := range instances {
		drop[keyOf(i)] = struct{}{}
	}
	if len(drop) == 0 {
		return nil
	}
	c, err := w.enqueue(&change{drop: drop})
	if err != nil || c == nil {
		return err
	}
	return w.await(ctx, c, "deregister "+instances[0].Service.String())
}

// enqueue puts a change behind the others. What it overtakes of those not sent
// yet is taken back, so that the queue never grows beyond what is registered.
// It returns nil if there is nothing to be done.
func (w *writer) enqueue(c *change) (*change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	keys := c.keys()
	inFlight := false
	kept := w.queue[:0]
	for _, q := range w.queue {
		if q.sent {
			inFlight = true
			kept = append(kept, q)
			continue
		}
		if maps.Equal(q.keys(), keys) && (q.put == nil) == (c.put == nil) {
			// The same again, or newer: whoever waits for it waits on.
			q.put = c.put
			c = q
			continue
		}
		for k := range keys {
			delete(q.put, k)
			delete(q.drop, k)
		}
		if len(q.put)+len(q.drop) == 0 {
			q.finish(errors.New("overtaken by a later call"))
			continue
		}
		kept = append(kept, q)
	}
	clear(w.queue[len(kept):])
	w.queue = kept
	if c.drop != nil && !inFlight && !w.mayHave(c.drop) {
		if c.done != nil {
			c.finish(nil)
		}
		return nil, nil
	}
	if c.done == nil {
		c.done = make(chan struct{})
	}
	w.queue = append(w.queue, c)
	w.poke()
	return c, nil
}

// mayHave reports whether the control plane may know any of keys.
func (w *writer) mayHave(keys map[key]struct{}) bool {
	for k := range keys {
		if _, ok := w.maybe[k]; ok {
			return true
		}
	}
	return false
}

func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// await waits for a change, within the caller's context and the time-out.
func (w *writer) await(ctx context.Context, c *change, what string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	timer := time.NewTimer(w.opts.Timeout)
	defer timer.Stop()
	var why error
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("%s: %w", what, c.err)
		}
		return nil
	case <-ctx.Done():
		why = ctx.Err()
	case <-timer.C:
		why = w.lastError()
	}
	if why != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrPending, why)
	}
	return fmt.Errorf("%s: %w", what, ErrPending)
}

func (w *writer) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status.LastError == "" {
		return nil
	}
	return errors.New(w.status.LastError)
}

// run keeps the stream until ctx ends, and then lets go of who still waits.
func (w *writer) run(ctx context.Context) {
	defer w.close()
	// A stream is wanted once something is: a stream without instances would
	// keep alive what an earlier process of this node has left.
	select {
	case <-ctx.Done():
		return
	case <-w.wake:
		w.poke()
	}
	for failures := 0; ; {
		answered, err := w.session(ctx)
		w.disconnected(err)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errTTL):
			continue // the new stream asks for another lease
		case answered:
			failures = 0
		}
		failures++
		delay := w.opts.Backoff.Delay(failures)
		if failures == 1 || failures%20 == 0 {
			w.log.Warn("no registration stream", "error", err, "attempts", failures, "retry_in", delay.String())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, c := range w.queue {
		c.finish(ErrClosed)
	}
	w.queue = nil
}
