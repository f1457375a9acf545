package middleware

import (
	"errors"
	"io"
	"reflect"
	"sync"
)

// States holds what outlives a reload of the configuration: buckets, windows,
// collectors. Chains are built in a Generation; a state that both the old and
// the new generation ask for is kept, one that no generation uses any more is
// closed.
type States struct {
	mu      sync.Mutex
	entries map[stateKey]*stateEntry
}

// stateKey has the type: values of two types are never the same state.
type stateKey struct {
	path string
	typ  reflect.Type
}

type stateEntry struct {
	value io.Closer
	users int // generations
}

// NewStates makes an empty one.
func NewStates() *States { return &States{entries: map[stateKey]*stateEntry{}} }

// Generation is the states that one build of the chains uses. The new one is
// built before the old one is closed.
type Generation struct {
	states *States
	used   map[stateKey]*stateEntry
}

// NewGeneration begins a build.
func (s *States) NewGeneration() *Generation {
	return &Generation{states: s, used: map[stateKey]*stateEntry{}}
}

// Close gives up the generation's share of its states, and closes those that
// nobody shares. It is called when no exchange uses the generation's chains any
// more.
func (g *Generation) Close() error {
	g.states.mu.Lock()
	var unused []io.Closer
	for key, e := range g.used {
		if e.users--; e.users == 0 {
			delete(g.states.entries, key)
			unused = append(unused, e.value)
		}
	}
	g.used = nil
	g.states.mu.Unlock()
	var errs []error
	for _, c := range unused {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// State is the value under the key, of this kind and id, in this direction: the
// one that the last generation used, or a new one from open. A value of another
// type under the same key is not the same state: what a kind changes in its
// meaning it changes in its type or key.
func State[T io.Closer](e Env, key string, open func() T) T {
	if e.generation == nil { // built outside of a program: nothing outlives it
		return open()
	}
	full := stateKey{e.Direction + "/" + e.Service + "/" + e.ID + "/" + key, reflect.TypeFor[T]()}
	s := e.generation.states
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, ok := s.entries[full]
	if !ok {
		entry = &stateEntry{value: open()}
		s.entries[full] = entry
	}
	if _, ok := e.generation.used[full]; !ok {
		entry.users++
		e.generation.used[full] = entry
	}
	v, _ := entry.value.(T) // the key has its type
	return v
}
