package breaker

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

// opened is a site whose one circuit has opened, and slept long enough for the
// next call to be a probe.
func opened(t *testing.T, config string) (*site, *backend) {
	t.Helper()
	s := newSite(t, "{minimumCalls: 1, sleepWindow: 1s, "+config+"}")
	b := newBackend("a", "users", status(http.StatusInternalServerError))
	if got := s.callN(2, b); got != 1 {
		t.Fatalf("%d calls reached it, want 1", got)
	}
	b.calls = 0
	time.Sleep(time.Second)
	return s, b
}

// hang has the backend's answers wait until release is closed.
func (b *backend) hang(release <-chan struct{}, answer func(*middleware.Attempt) error) {
	b.answer = func(a *middleware.Attempt) error {
		<-release
		return answer(a)
	}
}

// begin starts calls that hang, and returns when they do.
func (s *site) begin(n int, b *backend) *sync.WaitGroup {
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() { s.call(b) })
		synctest.Wait()
	}
	return &calls
}

func TestNoMoreProbesAtOnceThanAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := opened(t, "probes: 3")
		release := make(chan struct{})
		b.hang(release, status(http.StatusOK))
		calls := s.begin(10, b)
		if b.calls != 3 {
			t.Errorf("%d probes at once, want 3", b.calls)
		}
		close(release)
		calls.Wait()
		if got := s.callN(10, b); got != 10 {
			t.Errorf("%d of 10 calls reached it after three good probes", got)
		}
	})
}

func TestOneFailedProbeIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := opened(t, "probes: 3")
		b.answer = status(http.StatusOK)
		s.callN(2, b)
		b.answer = reset
		s.callN(1, b)
		b.answer = status(http.StatusOK)
		if got := s.callN(10, b); got != 0 {
			t.Errorf("%d calls reached it after a probe had failed", got)
		}
		time.Sleep(time.Second)
		s.callN(2, b)
		if got := s.callN(10, b); got != 10 {
			t.Errorf("%d of 10 calls reached it", got)
		}
	})
}

func TestASlowProbeOpensTheCircuitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := opened(t, "probes: 1, slowAfter: 100ms")
		b.answer = func(a *middleware.Attempt) error {
			time.Sleep(101 * time.Millisecond)
			return status(http.StatusOK)(a)
		}
		if got := s.callN(10, b); got != 1 {
			t.Errorf("%d calls reached it, want the one slow probe", got)
		}
	})
}

func TestAProbeThatSaysNothingMakesRoomForAnother(t *testing.T) {
	tests := map[string]func(*middleware.Attempt) error{
		"the client left":            fails(middleware.ErrClientGone),
		"another attempt was faster": fails(middleware.ErrLost),
		"a panic further in":         func(*middleware.Attempt) error { panic("on purpose") },
		"a refusal further in": func(a *middleware.Attempt) error {
			a.MarkUnsent()
			return &middleware.Reject{Status: http.StatusServiceUnavailable, Reason: "busy"}
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b := opened(t, "probes: 1")
				b.answer = answer
				if got := s.callN(5, b); got != 5 {
					t.Errorf("%d of 5 calls reached it, each should make room for the next", got)
				}
				b.answer = status(http.StatusOK)
				if got := s.callN(5, b); got != 5 {
					t.Errorf("%d of 5 calls reached it, the first should have closed the circuit", got)
				}
			})
		})
	}
}

func TestAProbeThatHangsDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := opened(t, "probes: 1")
		release := make(chan struct{})
		b.hang(release, reset)
		calls := s.begin(1, b)
		b.answer = status(http.StatusOK)
		if got := s.callN(5, b); got != 0 {
			t.Errorf("%d calls reached it beside the probe", got)
		}
		time.Sleep(time.Second)
		if got := s.callN(5, b); got != 5 {
			t.Errorf("%d of 5 calls reached it after the probe had hung for the sleep window", got)
		}
		close(release) // the first probe fails at last: that is about a time that is over
		calls.Wait()
		if got := s.callN(5, b); got != 5 {
			t.Errorf("%d of 5 calls reached it", got)
		}
	})
}

func TestCallsFromBeforeTheCircuitOpenedSayNothingAboutItAfterwards(t *testing.T) {
	for name, late := range map[string]func(*middleware.Attempt) error{"good": status(http.StatusOK), "bad": reset} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, "{minimumCalls: 5, sleepWindow: 1s, probes: 5}")
				b := newBackend("a", "users", nil)
				release := make(chan struct{})
				b.hang(release, late)
				calls := s.begin(20, b)
				b.answer = reset
				s.callN(5, b)
				time.Sleep(time.Second)
				b.answer = status(http.StatusOK)
				if got := s.callN(2, b); got != 2 { // probes: half-open from here on
					t.Fatalf("%d probes, want 2", got)
				}
				close(release)
				calls.Wait()
				if got := s.callN(2, b); got != 2 {
					t.Errorf("%d probes, want 2 more: the circuit is half-open", got)
				}
				b.answer = reset
				if got := s.callN(5, b); got != 1 {
					t.Errorf("%d calls reached it, want the failing probe", got)
				}
			})
		})
	}
}

// TestManyCallsAtOnceAreCountedOnce opens a circuit under load, with the race
// detector on in the project's tests.
func TestManyCallsAtOnceAreCountedOnce(t *testing.T) {
	s := newSite(t, "{minimumCalls: 100, sleepWindow: 1ms, probes: 2}")
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			for j := range 2000 {
				s.call(newBackend(fmt.Sprintf("10.0.0.%d:80", j%5), "users", status(200+(i+j)%2*300)))
			}
		})
	}
	calls.Wait()
	samples := middlewaretest.Samples(t, s.registry)
	series := func(name, label string) float64 {
		return samples["outrigger_breaker_"+name+"{direction=outbound,id=breaker,service=users,"+label+"}"]
	}
	balance := series("transitions_total", "to=open") - series("transitions_total", "to=half_open") - series("circuits", "state=open")
	if balance != 0 || series("transitions_total", "to=open") == 0 {
		t.Errorf("states and transitions do not add up: %v", samples)
	}
}
