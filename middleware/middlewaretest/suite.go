package middlewaretest

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long the suite waits for what has to happen.
const patience = 10 * time.Second

// scenario is one case of the suite: what holds, and the proof.
type scenario struct {
	name string
	run  func(t *testing.T, e Engine)
}

// Run holds the engine to the contract of the middleware package. Every case is
// a subtest and starts an engine of its own. In every case, whatever it is
// about, Done and TryDone are counted against Serve and Try, and no goroutine
// may be left over.
func Run(t *testing.T, e Engine) {
	groups := []struct {
		name      string
		scenarios []scenario
	}{
		{"order", orderScenarios},
		{"end", endScenarios()},
		{"message", messageScenarios},
		{"body", bodyScenarios},
		{"cancel", cancelScenarios},
		{"retry", retryScenarios},
		{"retry body", replayScenarios},
		{"hedge", hedgeScenarios},
		{"reroute", rerouteScenarios},
		{"reuse", reuseScenarios},
		{"grpc", grpcScenarios},
	}
	for _, g := range groups {
		t.Run(e.Name()+"/"+g.name, func(t *testing.T) {
			for _, s := range g.scenarios {
				t.Run(s.name, func(t *testing.T) {
					noLeak(t)
					s.run(t, e)
				})
			}
		})
	}
}

// noLeak fails the test when it leaves a goroutine behind. It is to be called
// first: what is cleaned up later was started earlier.
func noLeak(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not so: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// receive waits for a value.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing after %v: %s", patience, what)
	}
	panic("unreachable")
}

func equalStrings(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
