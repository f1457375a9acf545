package middlewaretest

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Memory is an engine without sockets. Each request is a stream of its own, as
// in HTTP/2, any number at once; exchanges are used again by later requests.
// Backends run in goroutines and see a client that can go away at any time.
type Memory struct{}

var _ Engine = Memory{}

// Name is "memory".
func (Memory) Name() string { return "memory" }

// Start serves the setup.
func (Memory) Start(t testing.TB, s Setup) http.RoundTripper {
	m := &memory{
		chain:  middleware.Chain(middleware.Router, s.Request...),
		others: map[string]*middleware.Target{},
		live:   map[*stream]struct{}{},
		log:    slog.New(slog.DiscardHandler),
	}
	try := middleware.TryChain(middleware.Transport, s.Try...)
	m.target = m.newTarget("backend", s.Backends, try, s.Policy)
	for host, handlers := range s.Others {
		m.others[host] = m.newTarget(host, handlers, try, s.Policy)
	}
	t.Cleanup(func() { m.close(t) })
	return m
}

// memory is one engine that was started.
type memory struct {
	chain  middleware.Handler
	target *middleware.Target
	others map[string]*middleware.Target
	log    *slog.Logger
	tasks  sync.WaitGroup // every goroutine

	mu   sync.Mutex
	idle []*wire
	live map[*stream]struct{}
}

func (m *memory) newTarget(service string, handlers []http.Handler, try middleware.TryHandler, policy middleware.TryPolicy) *middleware.Target {
	var all endpoints
	for i, h := range handlers {
		name := service + "-" + string(rune('a'+i%26))
		all = append(all, &middleware.Endpoint{
			Key:       name,
			Address:   name + ".memory:80",
			Weight:    1,
			Stats:     new(middleware.Stats),
			Transport: &transport{m: m, handler: h},
		})
	}
	return &middleware.Target{
		Route:  &middleware.Route{Listener: middleware.Inbound, Service: service, Name: "default"},
		Pick:   func(*middleware.Exchange) (middleware.Picker, error) { return all, nil },
		Try:    try,
		Policy: policy,
	}
}

// endpoints takes them in turn, from the first for every exchange.
type endpoints []*middleware.Endpoint

func (e endpoints) Pick(a *middleware.Attempt) (*middleware.Endpoint, error) {
	if len(e) == 0 {
		return nil, &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: middleware.ReasonNoEndpoint}
	}
	return e[a.Number%len(e)], nil
}

func (m *memory) match(authority []byte) *middleware.Target {
	host := strings.ToLower(string(authority))
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if t, ok := m.others[host]; ok {
		return t
	}
	return m.target
}

// RoundTrip is the client: see http.RoundTripper.
func (m *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	s := newStream(m, req)
	m.mu.Lock()
	m.live[s] = struct{}{}
	m.mu.Unlock()
	m.tasks.Go(s.run)
	select {
	case r := <-s.result:
		return r.response, r.err
	case <-req.Context().Done():
		s.abort(middleware.ErrClientGone)
		return nil, req.Context().Err()
	}
}

// take is a wire that no stream uses.
func (m *memory) take() *wire {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.idle); n > 0 {
		w := m.idle[n-1]
		m.idle = m.idle[:n-1]
		return w
	}
	w := &wire{}
	w.x = middleware.NewExchange(w)
	return w
}

// give takes a wire back whose stream has ended.
func (m *memory) give(w *wire, s *stream) {
	w.stream.Store(nil)
	if !w.x.Reset() {
		w = &wire{}
		w.x = middleware.NewExchange(w)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, w)
	delete(m.live, s)
}

// close ends what still runs, and waits for it.
func (m *memory) close(t testing.TB) {
	m.mu.Lock()
	var live []*stream
	for s := range m.live {
		live = append(live, s)
	}
	m.mu.Unlock()
	for _, s := range live {
		s.abort(middleware.ErrClientGone)
	}
	done := make(chan struct{})
	go func() {
		m.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("the in-memory engine still runs %v after its test", patience)
	}
}

var peerAddr = netip.MustParseAddrPort("127.0.0.1:40000")

var errShort = errors.New("body is shorter than its content-length")

// connectionFields are about one connection only (RFC 9110, section 7.6.1).
var connectionFields = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade"}

func copyHeader(to *middleware.Header, from http.Header) {
	for _, name := range sortedKeys(from) {
		if containsFold(connectionFields, name) {
			continue
		}
		for _, v := range from[name] {
			to.Add(name, v)
		}
	}
}

func toHTTP(h *middleware.Header) http.Header {
	to := http.Header{}
	for f := range h.All() {
		name := http.CanonicalHeaderKey(string(f.Name))
		if !containsFold(connectionFields, name) {
			to[name] = append(to[name], string(f.Value))
		}
	}
	return to
}

// bodyless reports whether a response has no body whatever its header says
// (RFC 9112, section 6.3).
func bodyless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}
