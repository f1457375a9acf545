package mesh

import (
	"maps"
	"slices"
	"time"
)

// What the session asks of the writer: each of these takes its lock.

// begin says what a new stream starts with: what is accepted without what was
// deregistered meanwhile; whether the control plane may have more than that;
// and the lease to ask for, which is enough for all that is queued.
func (w *writer) begin() (base set, more bool, ttl time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	base = maps.Clone(w.accepted)
	ttl = w.accepted.ttl(w.opts.TTL)
	for _, c := range w.queue {
		for k := range c.drop {
			delete(base, k)
		}
		ttl = max(ttl, c.put.ttl(w.opts.TTL))
	}
	if ttl == 0 {
		ttl = w.opts.TTL
	}
	return base, len(w.maybe) > len(base), ttl
}

// head takes the queue's first change that asks for something new, and the
// set that it makes. Those that ask for what is so anyway are done, if the
// control plane is known to have what is accepted.
func (w *writer) head(synced bool) (*change, set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		c := w.queue[0]
		want := c.apply(w.accepted)
		if synced && equal(want, w.accepted) {
			w.queue = slices.Delete(w.queue, 0, 1)
			c.finish(nil)
			continue
		}
		c.sent = true
		return c, want
	}
	return nil, nil
}

// finish ends the queue's first change.
func (w *writer) finish(c *change, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = slices.DeleteFunc(w.queue, func(q *change) bool { return q == c })
	c.finish(err)
}

// unsent puts a change back whose message was not answered.
func (w *writer) unsent(c *change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.sent = false
}

// sending notes that the control plane may come to have want, and returns the
// message's version.
func (w *writer) sending(want set) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.Copy(w.maybe, keysOf(want))
	w.version++
	return w.version
}

// settle notes that the control plane has exactly s.
func (w *writer) settle(s set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted = s
	w.maybe = keysOf(s)
	w.status.AcceptedVersion = w.version
	w.status.LastError = ""
}

func (w *writer) held() set {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.accepted
}

func (w *writer) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.LastError = err.Error()
}

func (w *writer) connected() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Connected, w.status.Since = true, time.Now()
}

func (w *writer) disconnected(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status.Connected {
		w.status.Connected, w.status.Since = false, time.Now()
	}
	if err != nil {
		w.status.LastError = err.Error()
	}
}

// WriterStatus is what a registry can say of what it registers.
type WriterStatus struct {
	Connected       bool      `json:"connected"`
	Since           time.Time `json:"since"` // when Connected last changed
	AcceptedVersion uint64    `json:"acceptedVersion"`
	Accepted        []string  `json:"accepted"` // the instances accepted, as network/node/namespace/name/port
	Pending         int       `json:"pending"`  // changes that wait for an answer
	LastError       string    `json:"lastError,omitempty"`
}

func (w *writer) state() WriterStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Pending = len(w.queue)
	s.Accepted = []string{}
	for _, i := range w.accepted.instances() {
		s.Accepted = append(s.Accepted, i.InstanceKey.String())
	}
	return s
}
