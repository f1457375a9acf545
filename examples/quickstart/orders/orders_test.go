package orders

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrderAsksUsersThroughTheOutboundPort(t *testing.T) {
	var host, path string
	var header http.Header
	mesh := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, path, header = r.Host, r.URL.Path, r.Header.Clone()
		_, _ = w.Write([]byte(`{"id":"7","name":"user 7","instance":"users-2","request_id":"abc"}`))
	}))
	defer mesh.Close()
	h := New(Config{Instance: "orders-1", Outbound: mesh.URL})

	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders/7", http.NoBody)
	req.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	req.Header.Set("x-request-deadline", "1500")
	req.Header.Set("x-request-id", "abc")
	req.Header.Set("Authorization", "Bearer secret")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)

	var got Order
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	want := Order{ID: "7", Instance: "orders-1", RequestID: "abc", User: User{ID: "7", Name: "user 7", Instance: "users-2", RequestID: "abc"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if host != "users" || path != "/users/7" {
		t.Errorf("asked for %s%s, want users/users/7", host, path)
	}
	for name, want := range map[string]string{
		"Traceparent": req.Header.Get("Traceparent"), "X-Request-Deadline": "1500", "X-Request-Id": "abc", "Authorization": "",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestStatsCountOrdersOnly(t *testing.T) {
	mesh := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer mesh.Close()
	h := New(Config{Instance: "orders-1", Outbound: mesh.URL})
	var last string
	for _, step := range []struct {
		path   string
		status int
	}{{"/healthz", 200}, {"/stats", 200}, {"/orders/1", 502}, {"/orders/2", 502}, {"/stats", 200}} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, step.path, http.NoBody))
		if w.Code != step.status {
			t.Errorf("%s: status %d, want %d", step.path, w.Code, step.status)
		}
		last = w.Body.String()
	}
	if !strings.Contains(last, `"requests":2`) {
		t.Errorf("stats = %s, want 2 requests", last)
	}
}
