package timeout

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind, "{request: 1m, perTry: 30s, idle: 1m}", "{trust: false}")
}

func parseList(t testing.TB, config string) (middleware.List, error) {
	t.Helper()
	n, err := conf.Parse("middleware.yaml", []byte("- timeout: "+config+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return middleware.ParseList(n, []middleware.Kind{Kind})
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"contradiction": {"{request: 1s, perTry: 2s}", "middleware.yaml:1:34: [0].timeout.perTry: 2s for one try is longer than the 1s that request allows in all"},
		"no unit":       {"{request: 10}", "middleware.yaml:1:22: [0].timeout.request: expected a duration"},
		"negative":      {"{idle: -1s}", "middleware.yaml:1:19: [0].timeout.idle: expected a duration that is not negative"},
		"misspelled":    {"{pertry: 1s}", `middleware.yaml:1:13: [0].timeout: unknown key "pertry", did you mean "perTry"?`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parseList(t, tt.config); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// hop is one hop: the chains of one direction.
func hop(t testing.TB, direction, config string) (*middleware.Chains, *prometheus.Registry) {
	t.Helper()
	list, err := parseList(t, config)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	chains, err := list.Build(middleware.Env{Direction: direction, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	return chains, registry
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

// endpoint answers every request with 200.
type endpoint struct{ calls int }

func (e *endpoint) target() *middleware.Target {
	return &middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return e, nil },
		Try:  middleware.Transport,
	}
}

func (e *endpoint) Pick(*middleware.Attempt) (*middleware.Endpoint, error) {
	return &middleware.Endpoint{Stats: new(middleware.Stats), Transport: e}, nil
}

func (e *endpoint) Try(a *middleware.Attempt) error {
	e.calls++
	a.Response.Status = http.StatusOK
	return nil
}

// passed is what became of a request: its answer, what the next hop sees, and
// the limit in force.
type passed struct {
	Status   int
	Reason   middleware.Reason
	Calls    int
	Fields   []string
	Deadline time.Duration // 0: none
}

// pass sends a request with the given deadlines through the hop.
func pass(chains *middleware.Chains, before func(*middleware.Exchange), fields ...string) passed {
	e := &endpoint{}
	x := middleware.NewExchange(wire{})
	x.Start = time.Now()
	x.SetTarget(e.target())
	for _, f := range fields {
		x.Request.Header.Add("X-Request-Deadline", f)
	}
	if before != nil {
		before(x)
	}
	x.Serve(chains.Request)
	p := passed{Status: x.Response.Status, Reason: x.Reason(), Calls: e.calls}
	if d, ok := x.Deadline(); ok {
		p.Deadline = d.Sub(x.Start)
	}
	if e.calls > 0 {
		for v := range x.Request.Header.Values(field) {
			p.Fields = append(p.Fields, string(v))
		}
	}
	x.End(nil)
	return p
}

// at is a moment in the absolute form.
func at(d time.Duration) string { return "@" + strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }

func TestDeadlinesOnlyShrinkFromHopToHop(t *testing.T) {
	const (
		ok   = http.StatusOK
		late = http.StatusGatewayTimeout
	)
	tests := map[string]struct {
		direction, config string
		fields            []string
		status            int
		limit             time.Duration
		results           map[string]float64
	}{
		"inbound, none":                   {middleware.Inbound, "{}", nil, ok, 0, nil},
		"inbound, remaining":              {middleware.Inbound, "{}", []string{"800"}, ok, 800 * time.Millisecond, map[string]float64{"taken": 1}},
		"inbound, shorter here":           {middleware.Inbound, "{request: 300ms}", []string{"800"}, ok, 300 * time.Millisecond, map[string]float64{"taken": 1}},
		"inbound, longer here":            {middleware.Inbound, "{request: 2s}", []string{"800"}, ok, 800 * time.Millisecond, map[string]float64{"taken": 1}},
		"inbound, only here":              {middleware.Inbound, "{request: 2s}", nil, ok, 2 * time.Second, nil},
		"inbound, the earliest of two":    {middleware.Inbound, "{}", []string{"800", "500"}, ok, 500 * time.Millisecond, map[string]float64{"taken": 2}},
		"inbound, nothing remains":        {middleware.Inbound, "{}", []string{"0"}, late, 0, map[string]float64{"expired": 1}},
		"inbound, nonsense":               {middleware.Inbound, "{}", []string{"soon"}, ok, 0, map[string]float64{"malformed": 1}},
		"inbound, nonsense and a limit":   {middleware.Inbound, "{request: 2s}", []string{"-1"}, ok, 2 * time.Second, map[string]float64{"malformed": 1}},
		"inbound, another clock's moment": {middleware.Inbound, "{}", []string{at(-time.Hour)}, ok, 0, map[string]float64{"foreign": 1}},
		"inbound, not trusted":            {middleware.Inbound, "{trust: false}", []string{"800"}, ok, 0, map[string]float64{"untrusted": 1}},
		"outbound, a moment":              {middleware.Outbound, "{}", []string{"+700"}, ok, 700 * time.Millisecond, map[string]float64{"taken": 1}},
		"outbound, a moment that is over": {middleware.Outbound, "{}", []string{"+-5"}, late, 0, map[string]float64{"expired": 1}},
		"outbound, long over":             {middleware.Outbound, "{}", []string{"@0"}, late, 0, map[string]float64{"expired": 1}},
		"outbound, remaining":             {middleware.Outbound, "{}", []string{"800"}, ok, 800 * time.Millisecond, map[string]float64{"taken": 1}},
		"outbound, shorter here":          {middleware.Outbound, "{request: 300ms}", []string{"+700"}, ok, 300 * time.Millisecond, map[string]float64{"taken": 1}},
		"outbound, far away":              {middleware.Outbound, "{request: 300ms}", []string{"@999999999999999"}, ok, 300 * time.Millisecond, map[string]float64{"taken": 1}},
		"gateway, a stranger's":           {middleware.Gateway, "{}", []string{"0"}, ok, 0, map[string]float64{"untrusted": 1}},
		"gateway, a stranger's and ours":  {middleware.Gateway, "{request: 2s}", []string{"1"}, ok, 2 * time.Second, map[string]float64{"untrusted": 1}},
		"gateway, trusted":                {middleware.Gateway, "{trust: true}", []string{"800"}, ok, 800 * time.Millisecond, map[string]float64{"taken": 1}},
		"gateway, another clock's moment": {middleware.Gateway, "{trust: true}", []string{at(-time.Hour)}, ok, 0, map[string]float64{"foreign": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chains, registry := hop(t, tt.direction, tt.config)
				for i, f := range tt.fields {
					if ms, relative := strings.CutPrefix(f, "+"); relative {
						n, err := strconv.Atoi(ms)
						if err != nil {
							t.Fatal(err)
						}
						tt.fields[i] = at(time.Duration(n) * time.Millisecond)
					}
				}
				want := passed{Status: tt.status, Deadline: tt.limit, Calls: 1}
				switch {
				case tt.status == late:
					want.Calls, want.Reason = 0, middleware.ReasonDeadline
				case tt.limit == 0:
				case tt.direction == middleware.Inbound:
					want.Fields = []string{at(tt.limit)}
				default:
					want.Fields = []string{strconv.FormatInt(tt.limit.Milliseconds(), 10)}
				}
				if diff := cmp.Diff(want, pass(chains, nil, tt.fields...)); diff != "" {
					t.Error(diff)
				}
				counted := map[string]float64{}
				for result, n := range tt.results {
					counted[fmt.Sprintf("outrigger_timeout_deadlines_total{direction=%s,result=%s}", tt.direction, result)] = n
				}
				if diff := cmp.Diff(counted, middlewaretest.Samples(t, registry)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestADeadlineShrinksThroughAppsThatCopyIt sends a request through the gateway
// and two services, whose apps work for a while and copy the field as it is.
func TestADeadlineShrinksThroughAppsThatCopyIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, _ := hop(t, middleware.Gateway, "{request: 1s}")
		inbound, _ := hop(t, middleware.Inbound, "{}")
		outbound, _ := hop(t, middleware.Outbound, "{}")
		through := func(chains *middleware.Chains, value string) string {
			t.Helper()
			p := pass(chains, nil, value)
			if p.Status != http.StatusOK || len(p.Fields) != 1 {
				t.Fatalf("%q: %+v", value, p)
			}
			return p.Fields[0]
		}
		p := pass(gateway, nil)
		toFirst := p.Fields[0]
		if toFirst != "1000" {
			t.Errorf("the gateway says %s, want 1000", toFirst)
		}
		copied := through(inbound, toFirst)
		time.Sleep(400 * time.Millisecond) // the first app works
		toSecond := through(outbound, copied)
		if toSecond != "600" {
			t.Errorf("the first service says %s, want 600", toSecond)
		}
		copied = through(inbound, toSecond)
		time.Sleep(599500 * time.Microsecond) // the second one, nearly too long
		if p := pass(outbound, nil, copied); p.Status != http.StatusGatewayTimeout || p.Calls != 0 {
			t.Errorf("with half a millisecond left: %+v", p)
		}
	})
}

func TestAnEarlierDeadlineOfAnotherMiddlewareIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chains, _ := hop(t, middleware.Outbound, "{request: 2s}")
		p := pass(chains, func(x *middleware.Exchange) { x.SetDeadline(x.Start.Add(50 * time.Millisecond)) }, "800")
		if diff := cmp.Diff(passed{Status: 200, Calls: 1, Fields: []string{"50"}, Deadline: 50 * time.Millisecond}, p); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheRoutesLimitIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chains, _ := hop(t, middleware.Gateway, "{request: 2s}")
		target := (&endpoint{}).target()
		target.Timeout = 500 * time.Millisecond
		x := middleware.NewExchange(wire{})
		x.Start = time.Now()
		x.SetTarget(target)
		x.Serve(chains.Request)
		if got := string(x.Request.Header.Get(field)); got != "500" || x.Response.Status != http.StatusOK {
			t.Errorf("the next hop is told %q, status %d", got, x.Response.Status)
		}
		x.End(nil)
	})
}

func TestIdleIsHandedToTheEngine(t *testing.T) {
	chains, _ := hop(t, middleware.Inbound, "{idle: 3s}")
	x := middleware.NewExchange(wire{})
	x.SetIdle(time.Minute)
	x.SetTarget((&endpoint{}).target())
	x.Serve(chains.Request)
	idle := x.Idle()
	x.End(nil)
	if idle != 3*time.Second {
		t.Errorf("idle is %v", idle)
	}
}
