package upstream

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

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
	} {
		if v, ok := got["outrigger_upstream_"+series]; !ok && want != 0 || v != want {
			t.Errorf("%s is %v, want %v", series, v, want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}
