package ratelimit

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestWhatPassesIsBurstAndRate(t *testing.T) {
	tests := map[string]struct {
		config string
		offers []int           // so many requests at once,
		pauses []time.Duration // after so long
		want   []int
	}{
		"a full bucket, then one by one": {
			"{rate: 10/s, burst: 3}",
			[]int{5, 1, 1, 2, 1},
			[]time.Duration{0, 99 * time.Millisecond, time.Millisecond, 150 * time.Millisecond, 50 * time.Millisecond},
			[]int{3, 0, 1, 1, 1},
		},
		"it does not fill over its brim": {
			"{rate: 10/s, burst: 3}",
			[]int{3, 10, 10},
			[]time.Duration{0, time.Hour, time.Hour},
			[]int{3, 3, 3},
		},
		"by the minute": {
			"{rate: 60/m, burst: 1}",
			[]int{2, 2, 2},
			[]time.Duration{0, 999 * time.Millisecond, time.Millisecond},
			[]int{1, 0, 1},
		},
		"by the hour": {
			"{rate: 2/h, burst: 2}",
			[]int{3, 1, 2, 9},
			[]time.Duration{0, 29 * time.Minute, time.Minute, 24 * time.Hour},
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

// TestOverAnyTimeNoMoreThanTheArithmeticPasses offers three times the limit for
// a simulated while.
func TestOverAnyTimeNoMoreThanTheArithmeticPasses(t *testing.T) {
	const seconds = 20
	for _, rate := range []int{1, 7, 100, 333} {
		for _, burst := range []int{10, 500} {
			t.Run(fmt.Sprintf("%d/s, burst %d", rate, burst), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, fmt.Sprintf("{rate: %d/s, burst: %d}", rate, burst))
					step := time.Second / time.Duration(3*rate)
					passed, offered := 0, 0
					for begin := time.Now(); time.Since(begin) < seconds*time.Second; time.Sleep(step) {
						passed += s.askN(1, nil)
						offered++
					}
					if want := min(burst+seconds*rate, offered); passed < want-1 || passed > want+1 {
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
				s.askN(tt.asked, nil)
				x := s.send(nil)
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

// TestABackendStaysWithinItsLimitUnderABurst sends through an engine what a
// client would.
func TestABackendStaysWithinItsLimitUnderABurst(t *testing.T) {
	list, err := parse(t, "{rate: 1/h, burst: 20}")
	if err != nil {
		t.Fatal(err)
	}
	chains, err := list.Build(middleware.Env{Direction: middleware.Inbound})
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request:  []middleware.Middleware{whole{chains.Request}},
		Backends: []http.Handler{http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) })},
	})
	var statuses [600]atomic.Int64
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for range 10 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				statuses[resp.StatusCode].Add(1)
				if resp.StatusCode == http.StatusTooManyRequests && (!strings.Contains(string(body), `"reason":"rate_limited"`) || resp.Header.Get("Retry-After") == "") {
					t.Errorf("refused with %s and Retry-After %q", body, resp.Header.Get("Retry-After"))
				}
			}
		})
	}
	clients.Wait()
	if served.Load() != 20 || statuses[200].Load() != 20 || statuses[429].Load() != 80 {
		t.Errorf("the backend served %d; %d were answered with 200 and %d with 429", served.Load(), statuses[200].Load(), statuses[429].Load())
	}
}

// whole is a whole chain as the last middleware of another.
type whole struct{ chain middleware.Handler }

func (w whole) Wrap(middleware.Handler) middleware.Handler { return w.chain }
