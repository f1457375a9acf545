package ratelimit

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
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
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind,
		"{rate: 10000/m, burst: 1000, key: source, headers: always}", "{rate: 1/h, key: path, burst: 1000}", "{burst: 500, key: {header: x-id}, maxKeys: 1, headers: never}")
}

func parse(t testing.TB, config string) (middleware.List, error) {
	t.Helper()
	n, err := conf.Parse("middleware.yaml", []byte("- ratelimit: "+config+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return middleware.ParseList(n, []middleware.Kind{Kind})
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	const place = "middleware.yaml:1:%d: [0].ratelimit."
	tests := map[string]struct {
		config string
		col    int
		want   string
	}{
		"no unit":           {"{rate: 1000}", 21, `rate: expected a number of requests and their unit of time, such as 1000/s, 600/m or 20/h, found "1000"`},
		"unknown unit":      {"{rate: 10/d}", 21, `rate: expected a number of requests and their unit of time`},
		"no number":         {"{rate: /s}", 21, `rate: expected a number of requests and their unit of time`},
		"a sign":            {"{rate: +1/s}", 21, `rate: expected a number of requests and their unit of time`},
		"a fraction":        {"{rate: 0.5/s}", 21, `rate: expected a number of requests and their unit of time`},
		"nothing":           {"{rate: 0/s}", 21, `rate: expected 1 to 10000000 requests, found 0`},
		"negative":          {"{rate: -1/s}", 21, `rate: expected 1 to 10000000 requests, found -1`},
		"too much":          {"{rate: 10000001/s}", 21, `rate: expected 1 to 10000000 requests, found 10000001`},
		"far too much":      {"{rate: 99999999999999999999/s}", 21, `rate: expected 1 to 10000000 requests, found 99999999999999999999`},
		"a map as rate":     {"{rate: {}}", 21, `rate: expected a string, found a map`},
		"negative burst":    {"{burst: -1}", 22, `burst: expected 0 to 10000000, found -1`},
		"endless burst":     {"{rate: 1/h, burst: 10000000}", 33, `burst: 10000000 requests at 1/h take more than a hundred years: expected 1281023 at most`},
		"unknown key":       {"{key: cookie}", 20, `key: expected none, source, path or {header: name}`},
		"a list as key":     {"{key: [source]}", 20, `key: expected none, source, path or {header: name}`},
		"header alone":      {"{key: header}", 20, `key: expected none, source, path or {header: name}`},
		"no header":         {"{key: {}}", 20, `key.header: expected the name of a field, found ""`},
		"no field name":     {"{key: {header: a b}}", 20, `key.header: expected the name of a field, found "a b"`},
		"unknown in key":    {"{key: {heder: a}}", 21, `key: unknown key "heder", did you mean "header"?`},
		"no keys":           {"{maxKeys: 0}", 24, `maxKeys: expected 1 to 1048576, found 0`},
		"too many keys":     {"{maxKeys: 1048577}", 24, `maxKeys: expected 1 to 1048576, found 1048577`},
		"unknown responses": {"{headers: yes}", 24, `headers: expected refused, always or never, found "yes"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := fmt.Sprintf(place, tt.col) + tt.want
			if _, err := parse(t, tt.config); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestBurstIsASecondsWorthByDefault(t *testing.T) {
	for rate, want := range map[string]int64{"1000/s": 1000, "600/m": 10, "1/m": 1, "7200/h": 2, "20/h": 1} {
		c := defaults()
		if err := c.Rate.UnmarshalText([]byte(rate)); err != nil {
			t.Fatal(err)
		}
		if c.burst() != want || c.Rate.String() != rate {
			t.Errorf("%s: burst %d of %s, want %d", rate, c.burst(), c.Rate, want)
		}
	}
}

// site is a program with one entry that can be reloaded.
type site struct {
	registry   *prometheus.Registry
	states     *middleware.States
	generation *middleware.Generation
	chain      middleware.Handler
	passed     int
}

func newSite(t testing.TB, config string) *site {
	t.Helper()
	s := &site{registry: prometheus.NewPedanticRegistry(), states: middleware.NewStates()}
	s.reload(t, config)
	t.Cleanup(func() {
		if err := s.generation.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) build(t testing.TB, config string) (middleware.Handler, *middleware.Generation) {
	t.Helper()
	list, err := parse(t, config)
	if err != nil {
		t.Fatal(err)
	}
	g := s.states.NewGeneration()
	chains, err := list.Build(middleware.Env{Direction: middleware.Inbound, Metrics: s.registry}.In(g))
	if err != nil {
		t.Fatal(err)
	}
	return chains.Request, g
}

func (s *site) reload(t testing.TB, config string) {
	t.Helper()
	chain, g := s.build(t, config)
	if s.generation != nil {
		if err := s.generation.Close(); err != nil {
			t.Error(err)
		}
	}
	s.chain, s.generation = chain, g
}

// wire is a client's side that nothing goes to.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

// ask sends a request with the given change, and reports whether it passed: what
// passes ends at the router, which has no route for it.
func (s *site) ask(change func(*middleware.Request)) bool {
	x := middleware.NewExchange(wire{})
	x.Request.Target = []byte("/")
	if change != nil {
		change(&x.Request)
	}
	x.Serve(s.chain)
	defer x.End(nil)
	return x.Reason() != ReasonRateLimited
}

// askN is how many of n requests pass.
func (s *site) askN(n int, change func(*middleware.Request)) (passed int) {
	for range n {
		if s.ask(change) {
			passed++
		}
	}
	return passed
}

func TestWhatPassesIsBurstAndRate(t *testing.T) {
	tests := map[string]struct {
		config string
		offers []int           // so many requests at once,
		pauses []time.Duration // after so long
		want   []int
	}{
		"a full bucket, then one by one": {
			"{rate: 10/s, burst: 3}",
			[]int{5, 1, 1, 2, 1}, []time.Duration{0, 99 * time.Millisecond, time.Millisecond, 150 * time.Millisecond, 50 * time.Millisecond},
			[]int{3, 0, 1, 1, 1},
		},
		"it does not fill over its brim": {
			"{rate: 10/s, burst: 3}",
			[]int{3, 10, 10}, []time.Duration{0, time.Hour, time.Hour},
			[]int{3, 3, 3},
		},
		"by the minute": {
			"{rate: 60/m, burst: 1}",
			[]int{2, 2, 2}, []time.Duration{0, 999 * time.Millisecond, time.Millisecond},
			[]int{1, 0, 1},
		},
		"by the hour": {
			"{rate: 2/h, burst: 2}",
			[]int{3, 1, 2, 9}, []time.Duration{0, 29 * time.Minute, time.Minute, 24 * time.Hour},
			[]int{2, 0, 1, 2},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.config)
				var got []int
				for i, n := range tt.offers {
					time.Sleep(tt.pauses[i])
					got = append(got, s.askN(n, nil))
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestOverAnyTimeNoMoreThanTheArithmeticPasses offers ten times the limit for a
// simulated minute.
func TestOverAnyTimeNoMoreThanTheArithmeticPasses(t *testing.T) {
	for _, rate := range []int{1, 7, 100, 333, 1000} {
		for _, burst := range []int{1, 50, 2000} {
			t.Run(fmt.Sprintf("%d/s, burst %d", rate, burst), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, fmt.Sprintf("{rate: %d/s, burst: %d}", rate, burst))
					step := time.Second / time.Duration(10*rate)
					passed, begin := 0, time.Now()
					for time.Since(begin) < time.Minute {
						passed += s.askN(1, nil)
						time.Sleep(step)
					}
					want := min(burst+60*rate, 10*60*rate)
					// What a request costs is rounded to a nanosecond.
					if off := passed - want; off < -1-want/100_000 || off > 1+want/100_000 {
						t.Errorf("%d passed, want %d", passed, want)
					}
				})
			})
		}
	}
}

func TestManyAtOnceTakeNoMoreThanTheBurst(t *testing.T) {
	for _, key := range []string{"none", "path"} {
		t.Run(key, func(t *testing.T) {
			s := newSite(t, "{rate: 1/h, burst: 1000, key: "+key+"}")
			var passed atomic.Int64
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() { passed.Add(int64(s.askN(500, nil))) })
			}
			clients.Wait()
			if passed.Load() != 1000 {
				t.Errorf("%d passed, want 1000", passed.Load())
			}
			want := map[string]float64{"outrigger_ratelimit_refused_total{direction=inbound,id=ratelimit,service=}": 3000}
			if diff := cmp.Diff(want, middlewaretest.Samples(t, s.registry)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func source(addr string) func(*middleware.Request) {
	return func(r *middleware.Request) { r.Peer.Addr = netip.MustParseAddrPort(addr) }
}

func target(path string) func(*middleware.Request) {
	return func(r *middleware.Request) { r.Target = []byte(path) }
}

func tenant(values ...string) func(*middleware.Request) {
	return func(r *middleware.Request) {
		for _, v := range values {
			r.Header.Add("X-Tenant", v)
		}
	}
}

func TestRequestsOfOneKeyShareABucket(t *testing.T) {
	tests := map[string]struct {
		key   string
		a, b  func(*middleware.Request)
		share bool
	}{
		"none":                        {"none", source("10.0.0.1:1"), source("10.0.0.2:1"), true},
		"one address":                 {"source", source("10.0.0.1:1"), source("10.0.0.1:2"), true},
		"two addresses":               {"source", source("10.0.0.1:1"), source("10.0.0.2:1"), false},
		"one address, mapped":         {"source", source("10.0.0.1:1"), source("[::ffff:10.0.0.1]:1"), true},
		"one IPv6 network":            {"source", source("[2001:db8::1]:1"), source("[2001:db8::ffff:1]:1"), true},
		"two IPv6 networks":           {"source", source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"), false},
		"no address":                  {"source", nil, nil, true},
		"one path":                    {"path", target("/a?x=1"), target("/a?x=2"), true},
		"two paths":                   {"path", target("/a"), target("/b"), false},
		"one value":                   {"{header: X-Tenant}", tenant("a"), tenant("a"), true},
		"two values":                  {"{header: x-tenant}", tenant("a"), tenant("b"), false},
		"the first line counts":       {"{header: x-tenant}", tenant("a", "b"), tenant("a"), true},
		"without a value":             {"{header: x-tenant}", tenant(), tenant(), true},
		"with and without":            {"{header: x-tenant}", tenant("a"), tenant(), false},
		"an empty one is none at all": {"{header: x-tenant}", tenant(""), tenant(), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "{rate: 1/h, burst: 1, key: "+tt.key+"}")
			if !s.ask(tt.a) || s.ask(tt.a) {
				t.Fatal("of two requests the first one should pass")
			}
			if passed := s.ask(tt.b); passed == tt.share {
				t.Errorf("the other one passed: %t", passed)
			}
		})
	}
}

func TestTheFullestBucketMakesRoomForANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{rate: 1/s, burst: 5, key: path, maxKeys: 3}")
		s.askN(5, target("/busy"))
		s.askN(2, target("/some"))
		s.askN(1, target("/little"))
		s.askN(1, target("/new")) // in place of /little
		if got := s.askN(5, target("/busy")); got != 0 {
			t.Errorf("/busy got %d more: its bucket was given up", got)
		}
		if got := s.askN(5, target("/some")); got != 3 {
			t.Errorf("/some got %d more, want 3", got)
		}
		evicted := "outrigger_ratelimit_evicted_total{direction=inbound,id=ratelimit,service=}"
		if got := middlewaretest.Samples(t, s.registry)[evicted]; got != 1 {
			t.Errorf("%v buckets were given up, want 1", got)
		}
		time.Sleep(time.Minute) // all are full: giving one up is no loss
		s.askN(1, target("/other"))
		if got := middlewaretest.Samples(t, s.registry)[evicted]; got != 1 {
			t.Errorf("%v buckets were given up, want 1", got)
		}
	})
}

func TestKeysWithoutEndNeedNoMemoryWithoutEnd(t *testing.T) {
	const most = 1000
	b := newBuckets(Key{By: ByPath}, most)
	l := b.use(b.next(newLimit(Rate{1, time.Hour}, 1)))
	for i := range uint64(100 * most) {
		b.takeOf(l, i*0x9e3779b97f4a7c15)
	}
	kept := 0
	for i := range b.shards {
		s := &b.shards[i]
		if len(s.entries) != len(s.index) {
			t.Errorf("%d entries, %d of them are found", len(s.entries), len(s.index))
		}
		kept += len(s.entries)
	}
	if kept > most || kept < most*9/10 {
		t.Errorf("%d buckets, want %d at most and nearly as many", kept, most)
	}
}

func TestReloadKeepsUnchangedBuckets(t *testing.T) {
	tests := map[string]struct {
		before, after string
		want          int // requests that pass after the reload
	}{
		"nothing changed":       {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10}", 6},
		"other response fields": {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10, headers: always}", 6},
		"a larger burst":        {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 15}", 11},
		"a smaller burst":       {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 5}", 1},
		"a much smaller burst":  {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 2}", 0},
		"a higher rate":         {"{rate: 1/h, burst: 10}", "{rate: 1/m, burst: 10}", 6},
		"a lower rate":          {"{rate: 1/m, burst: 10}", "{rate: 1/h, burst: 10}", 6},
		"by path":               {"{rate: 1/h, burst: 10, key: path}", "{rate: 1/m, burst: 10, key: path}", 6},
		"another key":           {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10, key: path}", 10},
		"another id":            {"{rate: 1/h, burst: 10}", "{id: other, rate: 1/h, burst: 10}", 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.before)
				if got := s.askN(4, nil); got != 4 {
					t.Fatalf("%d passed, want 4", got)
				}
				s.reload(t, tt.after)
				if got := s.askN(20, nil); got != tt.want {
					t.Errorf("%d passed after the reload, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestAChangedRateIsInForceAtOnceForRequestsOfBothGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{rate: 1/h, burst: 1}")
		s.askN(1, nil)
		old := s.chain
		next, g := s.build(t, "{rate: 1/s, burst: 1}")
		time.Sleep(2 * time.Second)
		if s.ask(nil) {
			t.Error("what was only built is in force: it may be refused as a whole")
		}
		s.chain = next
		if s.ask(nil) {
			t.Error("tokens came from nowhere")
		}
		time.Sleep(time.Second)
		s.chain = old // a request that began before the reload
		if !s.ask(nil) {
			t.Error("the former rate is in force")
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestARefusalSaysWhenToComeBack(t *testing.T) {
	tests := map[string]struct {
		config string
		asked  int // requests before
		want   map[string]string
	}{
		"refused": {
			"{rate: 30/m, burst: 5}", 5,
			map[string]string{"Retry-After": "2", "Ratelimit-Policy": `"ratelimit";q=5;w=10`, "Ratelimit": `"ratelimit";r=0;t=10`},
		},
		"soon": {
			"{rate: 1000/s, burst: 2}", 2,
			map[string]string{"Retry-After": "1", "Ratelimit-Policy": `"ratelimit";q=2;w=1`, "Ratelimit": `"ratelimit";r=0;t=1`},
		},
		"with an id": {
			`{id: "per\"tenant", rate: 1/h, burst: 1, key: path}`, 1,
			map[string]string{"Retry-After": "3600", "Ratelimit-Policy": `"per\"tenant";q=1;w=3600`, "Ratelimit": `"per\"tenant";r=0;t=3600`},
		},
		"without fields": {"{rate: 1/h, burst: 1, headers: never}", 1, map[string]string{"Retry-After": "3600"}},
		"passed":         {"{rate: 1/m, burst: 3}", 0, map[string]string{}},
		"passed, always": {
			"{rate: 1/m, burst: 3, headers: always}", 1,
			map[string]string{"Ratelimit-Policy": `"ratelimit";q=3;w=180`, "Ratelimit": `"ratelimit";r=1;t=120`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.config)
				answering := middleware.HandlerFunc(func(x *middleware.Exchange) error {
					x.Response.Status = http.StatusOK
					return nil
				})
				list, err := parse(t, tt.config)
				if err != nil {
					t.Fatal(err)
				}
				s.chain = nil
				g := s.states.NewGeneration()
				defer func() { _ = g.Close() }()
				s.chain = rebuilt(t, list, middleware.Env{Direction: middleware.Inbound, Metrics: s.registry}.In(g), answering)
				s.askN(tt.asked, nil)
				x := middleware.NewExchange(wire{})
				x.Request.Target = []byte("/")
				x.Serve(s.chain)
				got := map[string]string{}
				for f := range x.Response.Header.All() {
					name := http.CanonicalHeaderKey(string(f.Name))
					if name == "Retry-After" || strings.HasPrefix(name, "Ratelimit") {
						got[name] = string(f.Value)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				x.End(nil)
			})
		})
	}
}
