package breaker

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind,
		"{scope: service, slowAfter: 1m, window: 1m, probes: 1}", "{statuses: [], errorPercent: 100}")
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	const place = "middleware.yaml:1:%d: [0].breaker."
	tests := map[string]struct {
		config string
		col    int
		want   string
	}{
		"unknown scope":     {"{scope: route}", 20, `scope: expected endpoint or service, found "route"`},
		"no percent":        {"{errorPercent: 0}", 27, "errorPercent: expected 1 to 100, found 0"},
		"above a hundred":   {"{errorPercent: 101}", 27, "errorPercent: expected 1 to 100, found 101"},
		"slow percent":      {"{slowPercent: -1}", 26, "slowPercent: expected 1 to 100, found -1"},
		"no calls":          {"{minimumCalls: 0}", 27, "minimumCalls: expected 1 to 10000, found 0"},
		"too many calls":    {"{minimumCalls: 10001}", 27, "minimumCalls: expected 1 to 10000, found 10001"},
		"no probes":         {"{probes: 0}", 21, "probes: expected 1 to 100, found 0"},
		"short window":      {"{window: 99ms}", 21, "window: expected 100ms to 10m0s, found 99ms"},
		"long window":       {"{window: 1h}", 21, "window: expected 100ms to 10m0s, found 1h0m0s"},
		"no sleep":          {"{sleepWindow: 0}", 26, "sleepWindow: expected 1ms to 10m0s, found 0s"},
		"unknown status":    {"{statuses: [600]}", 24, `statuses[0]: expected a status such as 503 or 5xx, found "600"`},
		"unknown class":     {"{statuses: [5xx, 6xx]}", 29, `statuses[1]: expected a status such as 503 or 5xx, found "6xx"`},
		"the same twice":    {"{statuses: [5xx, 503, 503]}", 34, "statuses[2]: 503 stands in the list twice"},
		"a status in words": {"{statuses: [error]}", 24, `statuses[0]: expected a status such as 503 or 5xx, found "error"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := fmt.Sprintf(place, tt.col) + tt.want
			if _, err := parse(t, tt.config); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestAFailingEndpointIsLeftAloneProbedAndCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{minimumCalls: 10, errorPercent: 50, sleepWindow: 5s, probes: 2}")
		b := newBackend("10.0.0.1:80", "users", status(http.StatusInternalServerError))
		if got := s.callN(100, b); got != 10 {
			t.Fatalf("%d calls reached it, want 10: then its circuit is open", got)
		}
		if code, refused := s.call(b); code != http.StatusServiceUnavailable || !refused {
			t.Errorf("refused with %d: %t", code, refused)
		}
		time.Sleep(5*time.Second - time.Millisecond)
		if got := s.callN(100, b); got != 0 {
			t.Errorf("%d calls reached it before its time", got)
		}
		time.Sleep(time.Millisecond)
		if got := s.callN(100, b); got != 1 {
			t.Errorf("%d calls reached it, want one probe, which fails", got)
		}
		time.Sleep(5 * time.Second)
		b.answer = status(http.StatusOK)
		if got := s.callN(100, b); got != 100 {
			t.Errorf("%d of 100 calls reached it after it had recovered", got)
		}
		b.answer = status(http.StatusInternalServerError)
		if got := s.callN(200, b); got != 98 {
			t.Errorf("%d calls reached it, want 98: as many as made 98 good ones half of all", got)
		}
		want := map[string]float64{
			"outrigger_breaker_circuits{direction=outbound,id=breaker,service=users,state=open}":            1,
			"outrigger_breaker_transitions_total{direction=outbound,id=breaker,service=users,to=open}":      3,
			"outrigger_breaker_transitions_total{direction=outbound,id=breaker,service=users,to=half_open}": 2,
			"outrigger_breaker_transitions_total{direction=outbound,id=breaker,service=users,to=closed}":    1,
			"outrigger_breaker_refused_total{direction=outbound,id=breaker,service=users}":                  90 + 1 + 100 + 99 + 102,
		}
		if diff := cmp.Diff(want, middlewaretest.Samples(t, s.registry)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestACircuitOpensAtItsShareOfItsMinimum(t *testing.T) {
	tests := map[string]struct {
		config string
		calls  string // one letter a call: ok, bad, slow
		open   bool
	}{
		"below the minimum":     {"{minimumCalls: 5}", "bbbb", false},
		"at the minimum":        {"{minimumCalls: 5}", "bbbbb", true},
		"at the share":          {"{minimumCalls: 4, errorPercent: 50}", "ooobbb", true},
		"below the share":       {"{minimumCalls: 4, errorPercent: 51}", "ooobbb", false},
		"a high share":          {"{minimumCalls: 2, errorPercent: 100}", "obbbbbbbbb", false},
		"all of them":           {"{minimumCalls: 2, errorPercent: 100}", "bb", true},
		"well":                  {"{minimumCalls: 1, errorPercent: 1}", "oooooooooo", false},
		"slow is fine":          {"{minimumCalls: 2}", "ssssssssss", false},
		"slow counts":           {"{minimumCalls: 2, slowAfter: 100ms}", "ss", true},
		"slow below its share":  {"{minimumCalls: 2, slowAfter: 100ms, slowPercent: 60}", "osos", false},
		"slow at its share":     {"{minimumCalls: 2, slowAfter: 100ms, slowPercent: 60}", "ososs", true},
		"slow is no failure":    {"{minimumCalls: 2, errorPercent: 60, slowAfter: 100ms, slowPercent: 100}", "obs", false},
		"not slow enough":       {"{minimumCalls: 2, slowAfter: 300ms}", "ssss", false},
		"a failure is not slow": {"{minimumCalls: 2, slowAfter: 1ms, errorPercent: 90, slowPercent: 10}", "oooob", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.config)
				b := newBackend("a", "users", nil)
				for _, c := range tt.calls {
					b.answer = status(http.StatusOK)
					switch c {
					case 'b':
						b.answer = reset
					case 's':
						b.answer = func(a *middleware.Attempt) error {
							time.Sleep(200 * time.Millisecond)
							return status(http.StatusOK)(a)
						}
					}
					s.call(b)
				}
				b.answer = status(http.StatusOK)
				if _, refused := s.call(b); refused != tt.open {
					t.Errorf("open %t, want %t", refused, tt.open)
				}
			})
		})
	}
}

func TestFailuresAreForgottenWhenTheWindowHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{minimumCalls: 10, window: 10s}")
		b := newBackend("a", "users", reset)
		s.callN(9, b)
		time.Sleep(11 * time.Second)
		if got := s.callN(20, b); got != 10 {
			t.Errorf("%d calls reached it, want 10: those of before do not count", got)
		}
	})
}

func TestWhatCountsAsAFailure(t *testing.T) {
	tests := map[string]struct {
		config string
		answer func(*middleware.Attempt) error
		counts bool
	}{
		"500":                        {"", status(500), true},
		"503":                        {"", status(503), true},
		"404":                        {"", status(404), false},
		"429":                        {"", status(429), false},
		"a status that is listed":    {"statuses: [429, 5xx], ", status(429), true},
		"one that is not":            {"statuses: [502, 503], ", status(500), false},
		"no status at all":           {"statuses: [], ", status(500), false},
		"a gRPC call: UNAVAILABLE":   {"", grpc("14"), true},
		"a gRPC call: NOT_FOUND":     {"", grpc("5"), false},
		"a gRPC call: UNIMPLEMENTED": {"", grpc("12"), false},
		"a gRPC call: OK":            {"", grpc("0"), false},
		"no connection":              {"", fails(&middleware.Reject{Status: 503, Reason: middleware.ReasonConnectFailed}), true},
		"no app":                     {"", fails(&middleware.Reject{Status: 503, Reason: middleware.ReasonAppUnavailable}), true},
		"a connection that broke":    {"", reset, true},
		"no HTTP":                    {"", fails(&middleware.Reject{Status: 502, Reason: middleware.ReasonUpstreamInvalid}), true},
		"any other error":            {"", fails(fmt.Errorf("odd")), true},
		"the time of the try":        {"", fails(middleware.ErrTryTimeout), true},
		"the time of the request":    {"", fails(middleware.ErrDeadline), true},
		"nothing moved":              {"", fails(middleware.ErrIdle), true},
		"the client's body":          {"", fails(&middleware.Reject{Status: 400, Reason: middleware.ReasonClientBody}), false},
		"the client left":            {"", fails(middleware.ErrClientGone), false},
		"another attempt was faster": {"", fails(middleware.ErrLost), false},
		"the request is over":        {"", fails(middleware.ErrEnded), false},
		"nobody wants the response":  {"", fails(middleware.ErrDiscarded), false},
		"canceled, and a head came": {"", func(a *middleware.Attempt) error {
			a.Exchange().Cancel(middleware.ErrClientGone)
			return status(500)(a)
		}, false},
		"a refusal from further in": {"", func(a *middleware.Attempt) error {
			a.MarkUnsent()
			return &middleware.Reject{Status: 503, Reason: "busy"}
		}, false},
		"the like, after it was sent": {"", fails(&middleware.Reject{Status: 503, Reason: "busy"}), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "{"+tt.config+"minimumCalls: 3, errorPercent: 100}")
			b := newBackend("a", "users", tt.answer)
			want := 20
			if tt.counts {
				want = 3
			}
			if got := s.callN(20, b); got != want {
				t.Errorf("%d of 20 calls reached it, want %d", got, want)
			}
		})
	}
}

func TestACircuitIsOneEndpointsOrOneServices(t *testing.T) {
	tests := map[string]struct {
		scope                        string
		sameKey, otherKey, elsewhere bool // refused?
	}{
		"endpoint": {"endpoint", true, false, false},
		"service":  {"service", true, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "{minimumCalls: 3, scope: "+tt.scope+"}")
			s.callN(3, newBackend("10.0.0.1:80", "users", reset))
			got := [3]bool{}
			for i, b := range []*backend{newBackend("10.0.0.1:80", "users", status(200)), newBackend("10.0.0.2:80", "users", status(200)), newBackend("10.0.0.3:80", "orders", status(200))} {
				_, got[i] = s.call(b)
			}
			if want := [3]bool{tt.sameKey, tt.otherKey, tt.elsewhere}; got != want {
				t.Errorf("refused %v, want %v", got, want)
			}
		})
	}
}

func TestARefusalSaysWhatIsWrong(t *testing.T) {
	for scope, want := range map[string]string{"endpoint": "this instance of the service is failing", "service": "the service is failing"} {
		t.Run(scope, func(t *testing.T) {
			s := newSite(t, "{minimumCalls: 1, scope: "+scope+"}")
			b := newBackend("a", "users", reset)
			s.callN(2, b)
			x := s.exchange(b)
			x.Serve(s.chains.Request)
			defer x.End(nil)
			a := x.Attempts()[0]
			if !strings.Contains(a.Err().Error(), "circuit_open: "+want) || !a.Unsent() {
				t.Errorf("refused with %v, unsent %t", a.Err(), a.Unsent())
			}
		})
	}
}

func TestReloadKeepsCircuits(t *testing.T) {
	tests := map[string]struct {
		after string
		want  int // calls of 20 that reach the failing endpoint after the reload
	}{
		"nothing changed":   {"{minimumCalls: 10}", 0},
		"other limits":      {"{minimumCalls: 20, window: 1m, sleepWindow: 1s}", 0},
		"another scope":     {"{minimumCalls: 10, scope: service}", 10},
		"another id":        {"{id: other, minimumCalls: 5}", 5},
		"a shorter window":  {"{minimumCalls: 10, window: 5s}", 0},
		"no status is left": {"{minimumCalls: 10, statuses: []}", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, "{minimumCalls: 10}")
				b := newBackend("a", "users", status(500))
				s.callN(10, b)
				s.reload(t, tt.after)
				if got := s.callN(20, b); got != tt.want {
					t.Errorf("%d calls reached it, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestReloadKeepsCountsAndAppliesChangedLimits(t *testing.T) {
	s := newSite(t, "{minimumCalls: 10}")
	b := newBackend("a", "users", status(500))
	s.callN(8, b)
	s.reload(t, "{minimumCalls: 9}")
	if got := s.callN(20, b); got != 1 {
		t.Errorf("%d calls reached it, want the ninth only", got)
	}
}

func TestAReloadThatDropsTheEntryTakesItsCircuitsOutOfTheGauges(t *testing.T) {
	s := newSite(t, "{minimumCalls: 1}")
	s.callN(3, newBackend("a", "users", status(500)))
	s.reload(t, "{id: other}")
	for name := range middlewaretest.Samples(t, s.registry) {
		if strings.HasPrefix(name, "outrigger_breaker_circuits") {
			t.Errorf("%s is left", name)
		}
	}
}
