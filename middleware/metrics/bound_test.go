package metrics

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestRoutesBeyondTheBoundAreCountedAsOther(t *testing.T) {
	c := newCollectors()
	for i := range maxRoutes {
		c.route(middleware.Inbound, &middleware.Route{Service: fmt.Sprint("s", i), Name: "r"})
	}
	beyond := c.route(middleware.Inbound, &middleware.Route{Service: "one more", Name: "r"})
	if want := (routeKey{middleware.Inbound, other, other}); beyond.key != want {
		t.Errorf("it is counted as %v", beyond.key)
	}
	if c.route(middleware.Inbound, &middleware.Route{Service: "yet another", Name: "r"}) != beyond {
		t.Error("the rest is more than one")
	}
	if known := c.route(middleware.Inbound, &middleware.Route{Service: "s7", Name: "r"}); known.key.service != "s7" {
		t.Errorf("a route from before is counted as %v", known.key)
	}
}

func TestSeriesOfRequestsAreBounded(t *testing.T) {
	c := newCollectors()
	const routes, reasons = 700, 60 // more than the bound together
	for i := range routes {
		s := c.route(middleware.Inbound, &middleware.Route{Service: "users", Name: fmt.Sprint("r", i)})
		for j := range reasons {
			s.request(methodIndex([]byte("GET")), 100+j, middleware.Reason(fmt.Sprint("reason", j))).Inc()
		}
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c.requests)
	all := samples(t, r)
	if len(all) != maxRequestSeries+1 {
		t.Errorf("%d series, want %d and one of the rest", len(all), maxRequestSeries)
	}
	if rest := all["requests_total{code=other,direction=inbound,method=other,reason=other,route=other,service=other}"]; rest == 0 {
		t.Error("the rest is not counted")
	}
	var sum float64
	for _, v := range all {
		sum += v
	}
	if sum != routes*reasons {
		t.Errorf("%v requests are counted, want %d", sum, routes*reasons)
	}
}

func TestRoutesOfReplacedTablesAreForgotten(t *testing.T) {
	m, _ := newTest(t, middleware.Inbound)
	for range 3 * maxCachedRoutes {
		m.series(&middleware.Route{Service: "users", Name: "default"})
	}
	remembered := 0
	m.routes.Range(func(any, any) bool { remembered++; return true })
	if remembered > maxCachedRoutes {
		t.Errorf("%d routes are remembered", remembered)
	}
	if n := len(m.collectors.routes); n != 1 {
		t.Errorf("%d routes have series, want 1: they are all the same", n)
	}
}
