package upstream

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestMetricsSayWhatClustersDo(t *testing.T) {
	registry := prometheus.NewRegistry()
	set := NewSet()
	good, bad := server(t, always(200)), server(t, always(503))
	out := dead(t)
	early := cluster(t, nil, bad, out)
	set.Add(early)
	if err := set.Use(Options{Registerer: registry}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passthrough/a.test", "passthrough/b.test"} {
		c := set.Put(Config{Name: name})
		c.SetEndpoints(endpoints(good))
		t.Cleanup(c.Close)
		call(c)
	}
	for range 5 {
		finish(requestTo(early, out)) // it is ejected
	}
	for range 15 {
		finish(requestTo(early, bad)) // the share is at its maximum
	}
	multi := set.Put(Config{Name: "shared", Protocol: "http2"})
	multi.SetEndpoints(endpoints(newServer2(t, &http2.Server{}, always(200)).address))
	t.Cleanup(multi.Close)
	call(multi)
	odd := set.Put(Config{Name: "odd", Protocol: "http2"})
	odd.SetEndpoints(endpoints(newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings()
		for id := p.head(); id != 0; id = p.head() {
			p.respond(id, true, ":status", "20")
		}
	})))
	t.Cleanup(odd.Close)
	call(odd)
	got := middlewaretest.Samples(t, registry)
	for series, want := range map[string]float64{
		"connections{cluster=passthrough}":                            2, // of both hosts
		"connections{cluster=svc}":                                    1,
		"connects_total{cluster=passthrough}":                         2,
		"connects_total{cluster=svc}":                                 1,
		"connect_failures_total{cluster=svc}":                         5,
		"ejections_total{cause=consecutiveGatewayErrors,cluster=svc}": 1,
		"ejections_prevented_total{cluster=svc}":                      3,
		"endpoints{cluster=passthrough,state=healthy}":                2,
		"endpoints{cluster=svc,state=healthy}":                        1,
		"endpoints{cluster=svc,state=ejected}":                        1,
		"requests{cluster=svc}":                                       0,
		"pending_requests{cluster=svc}":                               0,
		"refused_total{cluster=svc,limit=maxPending}":                 0,
		"http2_connections{cluster=shared}":                           1,
		"http2_streams{cluster=shared}":                               0,
		"connections{cluster=shared}":                                 1,
		"http2_troubles_total{cluster=odd,trouble=malformed}":         1,
	} {
		if v, ok := got["outrigger_upstream_"+series]; !ok && want != 0 || v != want {
			t.Errorf("%s is %v, want %v", series, v, want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
