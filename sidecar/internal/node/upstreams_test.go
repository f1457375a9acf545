package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func TestAnInstanceThatFailsIsEjectedAndTheAdminPortSaysWhy(t *testing.T) {
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer bad.Close()
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer good.Close()
	ill := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer ill.Close()
	address := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	at, _ := start(t, `
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
drain: {delay: 1ms}
middleware: {outbound: [requestid]}
upstreams:
  users: {endpoints: ["`+address(bad)+`", "`+address(good)+`"], outlier: {consecutiveGatewayErrors: 3}, pool: {maxConnections: 7}}
  legacy: {endpoints: ["`+address(ill)+`"], health: {http: /healthz, interval: 10ms}}
`)
	failed := 0
	for range 20 {
		if status, _ := get(t, at["listen.outbound"], "users", "/"); status != http.StatusOK {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d requests failed, want three: then it is ejected", failed)
	}
	dump := func() map[string]upstream.Status {
		_, body := get(t, at["listen.admin"], "", "/config/clusters")
		var list []upstream.Status
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		m := map[string]upstream.Status{}
		for _, c := range list {
			m[c.Name] = c
		}
		return m
	}
	users := dump()["static/users.default:80"]
	if e := users.Endpoints[0].Ejected; e == nil || e.Cause != "consecutiveGatewayErrors" || !strings.HasPrefix(e.Why, "3 attempts in a row") {
		t.Errorf("the dump has %+v", users.Endpoints)
	}
	if users.Pool.MaxConnections != 7 || len(users.Levels) != 1 || users.Levels[0].Healthy != 1 {
		t.Errorf("the dump has %+v", users)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if k := dump()["static/legacy.default:80"].Endpoints[0].Check; k != nil && !k.Healthy && k.Error == "answered 503" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the dump has %+v", k)
		}
	}
	for _, want := range []string{
		`outrigger_upstream_ejections_total{cause="consecutiveGatewayErrors",cluster="static/users.default:80"} 1`,
		`outrigger_upstream_endpoints{cluster="static/legacy.default:80",state="unhealthy"} 1`,
	} {
		if _, body := get(t, at["listen.admin"], "", "/metrics"); !strings.Contains(body, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
}
