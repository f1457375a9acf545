package middlewaretest

import (
	"io"
	"net/http"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// named is a backend that says its name, and what it was asked for.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name+" "+r.Host+" "+r.RequestURI)
	})
}

func otherSetup(ms ...middleware.Middleware) Setup {
	return Setup{
		Request:  ms,
		Backends: []http.Handler{named("backend")},
		Others:   map[string][]http.Handler{"other.test": {named("other")}, "third.test": {named("third")}},
	}
}

func toAuthority(authority string) middleware.Middleware {
	return before(func(x *middleware.Exchange) { x.Request.Authority = []byte(authority) })
}

var rerouteScenarios = []scenario{
	{"the authority of the request chooses the route", func(t *testing.T, e Engine) {
		c := start(t, e, otherSetup())
		c.get(t, "/a").want(t, http.StatusOK, "backend backend.test /a")
		req := request(t, http.MethodGet, "/a", nil)
		req.Host = "other.test"
		c.do(req).want(t, http.StatusOK, "other other.test /a")
	}},
	{"a rewritten request goes where it would have gone, rewritten", func(t *testing.T, e Engine) {
		c := start(t, e, otherSetup(toAuthority("other.test"), before(func(x *middleware.Exchange) {
			x.Request.Target = []byte("/b?x=1")
		})))
		c.get(t, "/a").want(t, http.StatusOK, "backend other.test /b?x=1")
	}},
	{"a rerouted request goes to the other service, in the same request chain", func(t *testing.T, e Engine) {
		j := &journal{}
		c := start(t, e, otherSetup(j.request("A"), toAuthority("other.test"), before(func(x *middleware.Exchange) {
			route := x.Route()
			if err := x.Reroute(); err != nil {
				t.Errorf("reroute: %v", err)
			}
			if x.Route() == route {
				t.Error("the route is the same as before")
			}
		}), j.request("B")))
		c.get(t, "/a").want(t, http.StatusOK, "other other.test /a")
		equalStrings(t, "order", j.wait(t, 6), []string{"A in", "B in", "B out", "A out", "B done", "A done"})
		// The next request on the connection starts from its own route.
		req := request(t, http.MethodGet, "/a", nil)
		req.Host = "third.test"
		c.do(req).want(t, http.StatusOK, "other other.test /a")
	}},
	{"a request is rerouted once at most", func(t *testing.T, e Engine) {
		c := start(t, e, otherSetup(before(func(x *middleware.Exchange) {
			x.Request.Authority = []byte("other.test")
			if err := x.Reroute(); err != nil {
				t.Errorf("first reroute: %v", err)
			}
			x.Request.Authority = []byte("third.test")
			if err := x.Reroute(); err == nil {
				t.Error("a second reroute was allowed")
			}
		})))
		c.get(t, "/a").want(t, http.StatusOK, "other third.test /a")
		c.get(t, "/a").want(t, http.StatusOK, "other third.test /a")
	}},
	{"a request is not rerouted past the router", func(t *testing.T, e Engine) {
		c := start(t, e, otherSetup(hook{serve: func(x *middleware.Exchange, next middleware.Handler) error {
			err := next.Serve(x)
			x.Request.Authority = []byte("other.test")
			if x.Reroute() == nil {
				t.Error("a reroute was allowed with a response at hand")
			}
			return err
		}}))
		c.get(t, "/a").want(t, http.StatusOK, "backend backend.test /a")
	}},
}
