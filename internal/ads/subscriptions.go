package ads

import (
	"maps"
	"slices"
	"sync"
)

// subscriptions are what the client wants, and what it holds of it. They
// outlive streams; what was said on the present stream is in sent.
type subscriptions struct {
	mu    sync.Mutex
	types []*subscription // in order of their first use
}

// subscription is one type's.
type subscription struct {
	typeURL string
	wanted  map[string]struct{}
	held    map[string]string   // version by name, of what was accepted
	sent    map[string]struct{} // what the server was told on this stream
	changed map[string]struct{} // what must be looked at before the next request
	// renewed are those given up since the last request, wanted again or not:
	// the server must hear that, or it would not send them again.
	renewed map[string]struct{}
	started bool // the stream had a first request of this type
}

// of returns the type's subscription; the lock is held.
func (s *subscriptions) of(typeURL string, create bool) *subscription {
	for _, t := range s.types {
		if t.typeURL == typeURL {
			return t
		}
	}
	if !create {
		return nil
	}
	t := &subscription{
		typeURL: typeURL,
		wanted:  map[string]struct{}{},
		held:    map[string]string{},
		sent:    map[string]struct{}{},
		changed: map[string]struct{}{},
		renewed: map[string]struct{}{},
	}
	s.types = append(s.types, t)
	return t
}

// add reports whether it changed anything.
func (s *subscriptions) add(typeURL string, names []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(typeURL, true)
	before := len(t.wanted)
	for _, n := range names {
		if _, ok := t.wanted[n]; !ok {
			t.wanted[n] = struct{}{}
			t.changed[n] = struct{}{}
		}
	}
	return len(t.wanted) != before
}

// remove reports whether it changed anything.
func (s *subscriptions) remove(typeURL string, names []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(typeURL, false)
	if t == nil {
		return false
	}
	before := len(t.wanted)
	for _, n := range names {
		if _, ok := t.wanted[n]; !ok {
			continue
		}
		delete(t.wanted, n)
		t.changed[n] = struct{}{}
		if _, ok := t.sent[n]; ok {
			t.renewed[n] = struct{}{}
		}
		if n == Wildcard {
			maps.DeleteFunc(t.held, func(name, _ string) bool { return !t.wants(name) })
		} else if !t.wants(n) {
			delete(t.held, n)
		}
	}
	return len(t.wanted) != before
}

// wants reports whether a resource of that name was asked for.
func (t *subscription) wants(name string) bool {
	if _, ok := t.wanted[name]; ok {
		return true
	}
	_, ok := t.wanted[Wildcard]
	return ok
}

// reset begins a new stream.
func (s *subscriptions) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.types {
		t.started = false
		clear(t.sent)
		clear(t.changed)
		clear(t.renewed)
	}
}

// change is a request that the server must be sent.
type change struct {
	typeURL                string
	subscribe, unsubscribe []string
	versions               map[string]string
}

// changes returns what the server must be told, and counts it as told.
func (s *subscriptions) changes() []change {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []change
	for _, t := range s.types {
		out = append(out, t.changes()...)
	}
	return out
}

func (t *subscription) changes() []change {
	defer func() {
		clear(t.changed)
		clear(t.renewed)
	}()
	if !t.started {
		// A first request without a name would mean everything.
		if len(t.wanted) == 0 {
			return nil
		}
		t.started = true
		maps.Copy(t.sent, t.wanted)
		return []change{{
			typeURL:   t.typeURL,
			subscribe: slices.Sorted(maps.Keys(t.wanted)),
			versions:  maps.Clone(t.held),
		}}
	}
	var add, drop []string
	again := false
	for n := range t.changed {
		_, wanted := t.wanted[n]
		_, sent := t.sent[n]
		_, renewed := t.renewed[n]
		if sent && (!wanted || renewed) {
			drop = append(drop, n)
			delete(t.sent, n)
			again = again || wanted
		}
		if wanted && (!sent || renewed) {
			add = append(add, n)
			t.sent[n] = struct{}{}
		}
	}
	slices.Sort(add)
	slices.Sort(drop)
	switch {
	case len(add)+len(drop) == 0:
		return nil
	case again:
		// What one request both gives up and asks for is not defined.
		return []change{{typeURL: t.typeURL, unsubscribe: drop}, {typeURL: t.typeURL, subscribe: add}}
	}
	return []change{{typeURL: t.typeURL, subscribe: add, unsubscribe: drop}}
}

// filter leaves out what was given up while the response was under way, and
// reports whether the type is known at all.
func (s *subscriptions) filter(u *Update) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(u.Type, false)
	if t == nil {
		return false
	}
	u.Added = slices.DeleteFunc(u.Added, func(r Resource) bool { return !t.wants(r.Name) })
	u.Removed = slices.DeleteFunc(u.Removed, func(n string) bool { return !t.wants(n) })
	return true
}

// accept notes what is held after u, without what was refused of it.
func (s *subscriptions) accept(u Update, refused map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(u.Type, false)
	for _, r := range u.Added {
		// It may have been given up while it was handled.
		if !refused[r.Name] && t.wants(r.Name) {
			t.held[r.Name] = r.Version
		}
	}
	for _, n := range u.Removed {
		delete(t.held, n)
	}
}

// room reports whether one more resource may be held.
func (s *subscriptions) room(typeURL string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.of(typeURL, false); t != nil {
		return maxHeld - len(t.held)
	}
	return maxHeld
}

// counts are the numbers of names subscribed to and resources held, by type.
func (s *subscriptions) counts() []TypeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]TypeStatus, 0, len(s.types))
	for _, t := range s.types {
		out = append(out, TypeStatus{Type: t.typeURL, Subscribed: len(t.wanted), Held: len(t.held)})
	}
	return out
}
