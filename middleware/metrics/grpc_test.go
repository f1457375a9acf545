package metrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// grpcCall is one gRPC call in one process: what it asks for, and its end.
type grpcCall struct {
	path   string
	status string // of the trailer; empty: none
	http   int    // 0: 200
	local  middleware.Reason
}

// caller makes calls through the middleware, one after the other.
func caller(m *Metrics) func(grpcCall) {
	x := middleware.NewExchange(nil)
	var c grpcCall
	only := &picker{&middleware.Endpoint{Stats: new(middleware.Stats), Transport: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
		if c.local != "" {
			return &middleware.Reject{Status: 503, Reason: c.local}
		}
		if a.Response.Status = c.http; c.http == 0 {
			a.Response.Status = http.StatusOK
		}
		if c.status != "" {
			a.Response.Trailer.Add("grpc-status", c.status)
		}
		return nil
	})}}
	target := &middleware.Target{
		Route: &middleware.Route{Listener: middleware.Inbound, Service: "users", Name: "default"},
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return only, nil },
		Try:   middleware.TryChain(middleware.Transport, m),
	}
	chain := middleware.Chain(middleware.Router, m)
	name, value := []byte("content-type"), []byte("application/grpc")
	method := []byte("POST")
	var path []byte
	return func(next grpcCall) {
		c = next
		x.Reset()
		x.Start = time.Now()
		path = append(path[:0], c.path...)
		x.Request.Method, x.Request.Target = method, path
		x.Request.Header.Append(name, value)
		x.SetTarget(target)
		x.Serve(chain)
		x.End(nil)
	}
}

func grpcSamples(t *testing.T, all map[string]float64) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for name, v := range all {
		if rest, ok := strings.CutPrefix(name, "grpc_requests_total{direction=inbound,"); ok {
			rest = strings.TrimSuffix(strings.TrimSuffix(rest, "}"), ",service=users")
			got[rest] = v
		}
	}
	return got
}

func TestGRPCCallsAreCountedByMethodAndStatus(t *testing.T) {
	m, registry := newTest(t, middleware.Inbound)
	call := caller(m)
	const get = "/users.v1.Users/Get"
	for _, c := range []grpcCall{
		{path: "/users.v1.Users/Get", status: "0", local: "no_endpoint"}, // nobody knows it yet
		{path: get, status: "0"},
		{path: get, status: "0"},
		{path: get, status: "5"},
		{path: get, status: "77"},
		{path: get},
		{path: get, local: "no_endpoint"},
		{path: get, http: 404}, // known by now
		{path: "/users.v1.Users/Made", status: "12"},
		{path: "/users.v1.Users/Up", http: 404},
		{path: "/users.v1.Users/Never"},
		{path: "/users.v1.Users/" + strings.Repeat("x", maxGRPCName), status: "0"},
		{path: "/x", status: "0"},
		{path: "/caf\xe9.Users/Get", status: "0"},
	} {
		call(c)
	}
	const of, rest = "grpc_method=Get,grpc_service=users.v1.Users,grpc_status=", "grpc_method=other,grpc_service=other,grpc_status="
	want := map[string]float64{
		of + "OK": 2, of + "NOT_FOUND": 1, of + "other": 1, of + "none": 1, of + "UNAVAILABLE": 1, of + "UNIMPLEMENTED": 1,
		rest + "UNAVAILABLE": 1, rest + "UNIMPLEMENTED": 2, rest + "none": 1, rest + "OK": 2,
		"grpc_method=Get,grpc_service=caf\ufffd.Users,grpc_status=OK": 1,
	}
	all := samples(t, registry)
	if diff := cmp.Diff(want, grpcSamples(t, all)); diff != "" {
		t.Error(diff)
	}
	if n := all["grpc_request_duration_seconds{direction=inbound,grpc_method=Get,grpc_service=users.v1.Users,service=users}"]; n != 7 {
		t.Errorf("%v durations, want 7", n)
	}
	results := map[string]float64{}
	for _, r := range []string{"ok", "server_error", "rejected", "failed"} {
		results[r] = all["attempts_total{result="+r+",service=users}"]
	}
	if diff := cmp.Diff(map[string]float64{"ok": 11, "server_error": 1, "rejected": 2, "failed": 0}, results); diff != "" {
		t.Error(diff)
	}
	if n := all["requests_total{code=200,direction=inbound,method=POST,reason=no_endpoint,route=default,service=users}"]; n != 2 {
		t.Errorf("%v local answers among the requests, want 2 in %v", n, all)
	}
}

func TestMethodsBeyondTheLimitAreOneSeries(t *testing.T) {
	for _, most := range []int{0, 3} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			m, registry := newTest(t, middleware.Inbound)
			m.grpcMethods = most
			call := caller(m)
			for round := range 2 {
				for i := range 10 {
					call(grpcCall{path: fmt.Sprintf("/s/m%d", i), status: fmt.Sprint(round)})
				}
			}
			want := map[string]float64{}
			for _, status := range []string{"OK", "CANCELLED"} {
				for i := range most {
					want[fmt.Sprintf("grpc_method=m%d,grpc_service=s,grpc_status=%s", i, status)] = 1
				}
				want["grpc_method=other,grpc_service=other,grpc_status="+status] = float64(10 - most)
			}
			if diff := cmp.Diff(want, grpcSamples(t, samples(t, registry))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSeriesOfGRPCCallsAreBounded(t *testing.T) {
	c := newCollectors()
	const services = maxGRPCSeries/grpcStatuses + 10
	for i := range services {
		s := c.route(middleware.Inbound, &middleware.Route{Service: fmt.Sprint("s", i), Name: "r"})
		for status := range grpcStatuses {
			s.grpc.rest.request(status).Inc()
		}
	}
	if n := int(c.grpcSeries.Load()); n != maxGRPCSeries {
		t.Errorf("%d series, want %d", n, maxGRPCSeries)
	}
}

func TestMethodsAreLearnedByManyAtOnce(t *testing.T) {
	m, registry := newTest(t, middleware.Inbound)
	m.grpcMethods = 8
	var callers sync.WaitGroup
	const n, rounds = 4, 200
	for range n {
		callers.Go(func() {
			call := caller(m)
			for i := range rounds {
				call(grpcCall{path: fmt.Sprintf("/s/m%d", i%16), status: "0"})
			}
		})
	}
	callers.Wait()
	var sum float64
	all := grpcSamples(t, samples(t, registry))
	for _, v := range all {
		sum += v
	}
	if sum != n*rounds || len(all) != 9 {
		t.Errorf("%v calls in %d series, want %d in 9", sum, len(all), n*rounds)
	}
}

func TestAGRPCCallAllocatesNothing(t *testing.T) {
	m, _ := newTest(t, middleware.Inbound)
	m.grpcMethods = 1
	call := caller(m)
	for _, c := range []grpcCall{{path: "/s/known", status: "0"}, {path: "/s/of-the-rest", status: "0"}} {
		call(c)
		if n := testing.AllocsPerRun(100, func() { call(c) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", c.path, n)
		}
	}
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	for _, value := range []string{"-1", "2001"} {
		n, err := conf.Parse("middleware.yaml", []byte("- metrics: {grpcMethods: "+value+"}"))
		if err != nil {
			t.Fatal(err)
		}
		want := "middleware.yaml:1:26: [0].metrics.grpcMethods: expected 0 to 2000, found " + value
		if _, err := middleware.ParseList(n, []middleware.Kind{Kind}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
