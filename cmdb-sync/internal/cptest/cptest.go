// Package cptest is a control plane for tests: a fake, written by hand, that
// does with hosts what the REST API of the control plane does, and what it
// does when it is in trouble. The control plane's own rooms cannot be imported
// here; tests that run the real program beside this one are in command.
package cptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// Server is the fake. Its methods may be called at any time.
type Server struct {
	URL string

	mu       sync.Mutex
	revision int
	hosts    map[string]map[string]any
	applies  []Apply
	token    string
	before   func(w http.ResponseWriter, r *http.Request) (handled bool)
	lose     int
	page     int
}

// Apply is one request that was taken.
type Apply struct {
	Base, Run string
	Put       []map[string]any
	Delete    []string
}

// New starts a server, which ends with the test.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{revision: 1, hosts: map[string]map[string]any{}, page: 1000}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/hosts", s.list)
	mux.HandleFunc("POST /v1/hosts:apply", s.apply)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before, token := s.before, s.token
		s.mu.Unlock()
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			fail(w, http.StatusUnauthorized, "unauthorized", "the token is not known", nil)
			return
		}
		if before != nil && before(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.URL = h.URL
	return s
}

// SetToken demands a token.
func (s *Server) SetToken(token string) { s.locked(func() { s.token = token }) }

// SetPage makes pages smaller than what is asked for.
func (s *Server) SetPage(n int) { s.locked(func() { s.page = n }) }

// Before has requests go to f first, which may answer them; nil for nobody.
func (s *Server) Before(f func(w http.ResponseWriter, r *http.Request) (handled bool)) {
	s.locked(func() { s.before = f })
}

// LoseAnswers has the next n applies done and their answers lost.
func (s *Server) LoseAnswers(n int) { s.locked(func() { s.lose = n }) }

// Put makes or changes a host from outside, as another writer would.
func (s *Server) Put(name string, spec map[string]any) {
	s.locked(func() {
		s.revision++
		s.hosts[name] = map[string]any{
			"apiVersion": "mesh.outrigger.dev/v1alpha1", "kind": "Host",
			"metadata": map[string]any{"name": name}, "spec": spec,
		}
	})
}

// Change changes a host from outside.
func (s *Server) Change(name string, f func(object map[string]any)) {
	s.locked(func() {
		s.revision++
		f(s.hosts[name])
	})
}

// Revision is the collection's.
func (s *Server) Revision() (r string) {
	s.locked(func() { r = strconv.Itoa(s.revision) })
	return r
}

// Applies are the requests taken so far.
func (s *Server) Applies() (a []Apply) {
	s.locked(func() { a = slices.Clone(s.applies) })
	return a
}

// Names are the hosts that there are, sorted.
func (s *Server) Names() (names []string) {
	s.locked(func() { names = slices.Sorted(maps.Keys(s.hosts)) })
	return names
}

// Host is a host's field at a path of keys; nil where there is none.
func (s *Server) Host(name string, path ...string) (v any) {
	s.locked(func() {
		v = any(s.hosts[name])
		for _, key := range path {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		if m, ok := v.(map[string]any); ok && m == nil {
			v = nil
		}
	})
	return v
}

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if at := q.Get("revision"); at != "" && at != strconv.Itoa(s.revision) {
		fail(w, http.StatusGone, "compacted", "the revision is not kept", nil)
		return
	}
	limit := s.page
	if n, err := strconv.Atoi(q.Get("limit")); err == nil {
		limit = min(limit, n)
	}
	items, next := []any{}, ""
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		if name <= q.Get("after") {
			continue
		}
		if len(items) == limit {
			break
		}
		shown := maps.Clone(s.hosts[name])
		shown["status"] = map[string]any{"revision": "1"}
		items, next = append(items, shown), name
	}
	if len(items) < limit {
		next = ""
	}
	answer(w, http.StatusOK, map[string]any{"revision": strconv.Itoa(s.revision), "items": items, "next": next})
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a Apply
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 32<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		fail(w, http.StatusBadRequest, "bad_request", err.Error(), nil)
		return
	}
	if a.Base != "" && a.Base != strconv.Itoa(s.revision) {
		answer(w, http.StatusConflict, map[string]any{"error": "the collection moved", "reason": "stale_base", "revision": strconv.Itoa(s.revision)})
		return
	}
	var details []map[string]any
	next := maps.Clone(s.hosts)
	changed, unchanged, deleted := 0, 0, 0
	for i, o := range a.Put {
		meta, _ := o["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		spec, _ := o["spec"].(map[string]any)
		if name == "" || spec["key"] == nil || o["kind"] != "Host" {
			details = append(details, map[string]any{"path": fmt.Sprintf("put[%d]", i), "message": "is no host"})
			continue
		}
		if reflect.DeepEqual(next[name], o) {
			unchanged++
			continue
		}
		next[name] = o
		changed++
	}
	for _, name := range a.Delete {
		if _, ok := next[name]; ok {
			delete(next, name)
			deleted++
		}
	}
	if len(details) > 0 {
		fail(w, http.StatusUnprocessableEntity, "invalid", "objects are wrong", details)
		return
	}
	if changed+deleted > 0 {
		s.revision++
	}
	s.hosts, s.applies = next, append(s.applies, a)
	if s.lose > 0 {
		s.lose--
		panic(http.ErrAbortHandler) // the connection is cut
	}
	answer(w, http.StatusOK, map[string]any{"revision": strconv.Itoa(s.revision), "changed": changed, "unchanged": unchanged, "deleted": deleted})
}

func fail(w http.ResponseWriter, status int, reason, message string, details []map[string]any) {
	doc := map[string]any{"error": message, "reason": reason}
	if details != nil {
		doc["details"] = details
	}
	answer(w, status, doc)
}

func answer(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc) // a client that is gone needs no answer
}
