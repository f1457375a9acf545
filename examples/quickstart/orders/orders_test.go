package orders

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mesh stands for the outbound port: it answers for users, catalog and promo,
// and keeps what it was asked.
type mesh struct {
	failing map[string]bool // by Host

	mu    sync.Mutex
	asked map[string]*http.Request // by Host
}

func (m *mesh) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked[r.Host] = r
	m.mu.Unlock()
	if m.failing[r.Host] {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answers := map[string]string{
		"users":   `{"id":"7","name":"user 7","instance":"users-2","request_id":"abc"}`,
		"catalog": `{"id":"7","title":"item 7","instance":"catalog-1","request_id":"abc"}`,
		"promo":   `{"id":"7","percent":10,"instance":"promo-1","request_id":"abc"}`,
	}
	_, _ = fmt.Fprint(w, answers[r.Host])
}

func newMesh(t *testing.T, failing ...string) (*mesh, http.Handler) {
	t.Helper()
	m := &mesh{failing: map[string]bool{}, asked: map[string]*http.Request{}}
	for _, host := range failing {
		m.failing[host] = true
	}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return m, New(Config{Instance: "orders-1", Outbound: srv.URL})
}

func ask(t *testing.T, h http.Handler, header http.Header) (int, Order) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders/7", http.NoBody)
	req.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	var got Order
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return w.Code, got
}

func TestOrderAsksThreeServicesThroughTheOutboundPort(t *testing.T) {
	m, h := newMesh(t)
	header := http.Header{
		"Traceparent":        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"X-Request-Deadline": {"@1767225600000"},
		"X-Request-Id":       {"abc"},
		"Authorization":      {"Bearer secret"},
	}
	status, got := ask(t, h, header)
	want := Order{
		ID: "7", Instance: "orders-1", RequestID: "abc",
		User:  Part{ID: "7", Name: "user 7", Instance: "users-2", RequestID: "abc"},
		Item:  Part{ID: "7", Title: "item 7", Instance: "catalog-1", RequestID: "abc"},
		Promo: &Part{ID: "7", Percent: 10, Instance: "promo-1", RequestID: "abc"},
	}
	if diff := cmp.Diff(want, got); diff != "" || status != http.StatusOK {
		t.Errorf("status %d, answer (-want +got):\n%s", status, diff)
	}
	for host, path := range map[string]string{"users": "/users/7", "catalog": "/items/7", "promo": "/promos/7"} {
		r := m.asked[host]
		if r == nil || r.URL.Path != path {
			t.Errorf("%s was not asked for %s: %v", host, path, r)
			continue
		}
		for _, name := range passedOn {
			if got := r.Header.Get(name); got != header.Get(name) {
				t.Errorf("%s: %s = %q, want %q", host, name, got, header.Get(name))
			}
		}
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s got the caller's Authorization", host)
		}
	}
}

func TestOrderDoesWithoutPromoAlone(t *testing.T) {
	for failing, want := range map[string]int{"promo": http.StatusOK, "users": http.StatusBadGateway, "catalog": http.StatusBadGateway} {
		_, h := newMesh(t, failing)
		status, got := ask(t, h, http.Header{})
		if status != want {
			t.Errorf("without %s: status %d, want %d", failing, status, want)
		}
		if failing == "promo" && (got.Promo != nil || !strings.HasPrefix(got.PromoError, "promo answered 503") || got.User.Name != "user 7") {
			t.Errorf("without promo: %+v", got)
		}
	}
}

func TestStatsCountOrdersOnly(t *testing.T) {
	_, h := newMesh(t, "users")
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
