package serve

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	deltav3 "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// session is one stream's view of the cache. To go-control-plane's server it
// is the cache and the callbacks, for this stream alone; so it knows, unlike a
// cache that many streams share, what was sent, what waits, and in which order
// things may be said.
//
// The server calls CreateDeltaWatch for each request: a first one, a changed
// subscription, an ACK or a NACK. It cancels the watch before. A watch answers
// once. A type without an open watch waits for the client.
type session struct {
	cache *Cache
	peer  string
	since time.Time
	abort func() // ends the stream

	mu     sync.Mutex
	node   *corev3.Node
	place  Place // where the client is; known once node is
	types  map[string]*typeState
	closed bool
}

// typeState is what a session knows of one type.
type typeState struct {
	// names is what the client subscribed to by name, wildcard whether it
	// takes everything.
	names    map[string]struct{}
	wildcard bool
	// sent is the version that the client last got of each name; absent if it
	// was told that there is none.
	sent map[string]string
	// dirty is what has to be looked at before the next response. True stands
	// for a name that is to be sent even if its version is the one sent.
	dirty map[string]bool
	// answered says that the client has had a response of this type.
	answered bool
	// watch is the open watch; nil while the client has a response to answer.
	watch *watch

	nonce string // of the last response
	last  []string
	nacks int
	nack  string // what the client last said was wrong; empty after an ACK
}

// absent is the version of a name that the client knows not to exist.
const absent = ""

// watch is one CreateDeltaWatch. Of the request it keeps no more than the
// server asks for: requests can be large, and a watch can be open for days.
type watch struct {
	request *discoveryv3.DeltaDiscoveryRequest
	out     chan<- cachev3.DeltaResponse
}

var (
	_ cachev3.Cache     = (*session)(nil)
	_ deltav3.Callbacks = (*session)(nil)
)

func newSession(c *Cache, peer string, abort func()) *session {
	return &session{cache: c, peer: peer, abort: abort, since: time.Now(), types: map[string]*typeState{}}
}

func (s *session) state(typeURL string) *typeState {
	t := s.types[typeURL]
	if t == nil {
		t = &typeState{names: map[string]struct{}{}, sent: map[string]string{}, dirty: map[string]bool{}}
		s.types[typeURL] = t
	}
	return t
}

// look has the name looked at before the next response. With force there is
// something to say of it in any case.
func (t *typeState) look(name string, force bool) { t.dirty[name] = t.dirty[name] || force }

// CreateDeltaWatch implements cache.ConfigWatcher.
func (s *session) CreateDeltaWatch(
	req *discoveryv3.DeltaDiscoveryRequest, sub cachev3.Subscription, out chan cachev3.DeltaResponse,
) (func(), error) {
	typeURL := req.GetTypeUrl()
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.state(typeURL)
	s.resubscribe(t, req, sub)
	w := &watch{request: &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}, out: out}
	t.watch = w
	s.dispatch()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.watch == w {
			t.watch = nil
		}
	}, nil
}

// resubscribe takes over what the request changes of the subscription.
func (s *session) resubscribe(t *typeState, req *discoveryv3.DeltaDiscoveryRequest, sub cachev3.Subscription) {
	typeURL := req.GetTypeUrl()
	for name, version := range req.GetInitialResourceVersions() {
		t.sent[name] = version
		t.look(name, false)
	}
	was := t.wildcard
	t.wildcard = sub.IsWildcard()
	var add, drop []string
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == "*" {
			continue
		}
		_, held := req.GetInitialResourceVersions()[name]
		t.look(name, !held)
		if _, ok := t.names[name]; !ok {
			t.names[name] = struct{}{}
			add = append(add, name)
		}
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		if name == "*" {
			continue
		}
		if _, ok := t.names[name]; ok {
			delete(t.names, name)
			drop = append(drop, name)
		}
		if t.wildcard {
			t.look(name, true) // the client wants to know whether it still has it
		} else {
			delete(t.sent, name)
			delete(t.dirty, name)
		}
	}
	switch {
	case t.wildcard && !was:
		for _, name := range s.cache.names(typeURL) {
			t.look(name, false)
		}
	case was && !t.wildcard:
		// What it had by the wildcard alone it has no more.
		maps.DeleteFunc(t.sent, func(name, _ string) bool { _, ok := t.names[name]; return !ok })
		maps.DeleteFunc(t.dirty, func(name string, _ bool) bool { _, ok := t.names[name]; return !ok })
	}
	if len(add) > 0 || len(drop) > 0 || was != t.wildcard {
		s.cache.subscribe(s, typeURL, add, drop, t.wildcard)
		// Between the look at the cache above and the entry in its index a
		// resource may have come: look again.
		if t.wildcard && !was {
			for _, name := range s.cache.names(typeURL) {
				t.look(name, false)
			}
		}
	}
}

// changed notes that resources have changed and sends what may be sent.
func (s *session) changed(names map[string][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	for typeURL, changed := range names {
		t := s.state(typeURL)
		for _, name := range changed {
			t.look(name, false)
		}
	}
	s.dispatch()
}

// close forgets the session.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	subscribed := map[string][]string{}
	for typeURL, t := range s.types {
		t.watch = nil
		subscribed[typeURL] = slices.Collect(maps.Keys(t.names))
	}
	s.mu.Unlock()
	s.cache.close(s, subscribed)
}

// CreateWatch implements cache.ConfigWatcher: streams of the state of the world
// do not get here.
func (s *session) CreateWatch(*discoveryv3.DiscoveryRequest, cachev3.Subscription, chan cachev3.Response) (func(), error) {
	return nil, errNoSotW
}

// Fetch implements cache.ConfigFetcher: nothing is served by polling.
func (s *session) Fetch(context.Context, *discoveryv3.DiscoveryRequest) (cachev3.Response, error) {
	return nil, errors.New("xDS is not served by polling")
}

var errNoSotW = status.Error(codes.Unimplemented,
	"this control plane serves ADS in the delta (incremental) form only: use DeltaAggregatedResources")
