package middlewaretest

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// RunKind holds a kind of middleware to what every kind must do: its
// configuration is strict, it builds with its defaults and with each of the
// given configurations (the YAML of the entry's value), it leaves the suite's
// traffic unharmed, and a reload neither loses nor leaks what it keeps.
//
// Configurations whose purpose is to change the traffic belong in the kind's
// own tests.
func RunKind(t *testing.T, e Engine, kind middleware.Kind, configs ...string) {
	t.Run(e.Name()+"/"+kind.Name, func(t *testing.T) {
		t.Run("has a name that is a plain word", func(t *testing.T) {
			if !regexp.MustCompile(`^[a-z][a-z0-9]*$`).MatchString(kind.Name) {
				t.Errorf("name %q", kind.Name)
			}
		})
		t.Run("refuses an unknown key and says where", func(t *testing.T) { unknownKey(t, kind) })
		for _, config := range append([]string{""}, configs...) {
			name := "with " + config
			if config == "" {
				name = "with its defaults"
			}
			t.Run(name, func(t *testing.T) { runConfig(t, e, kind, config) })
		}
	})
}

func runConfig(t *testing.T, e Engine, kind middleware.Kind, config string) {
	t.Run("builds in every direction at once, twice, and closes", func(t *testing.T) {
		noLeak(t)
		f := newFixture(t, kind, config, probe{})
		var all []*generation
		for range 2 {
			for _, direction := range []string{middleware.Inbound, middleware.Outbound, middleware.Gateway} {
				all = append(all, f.build(t, direction))
			}
		}
		for _, g := range all {
			g.close(t)
		}
		f.wantNothingLeft(t)
	})
	for _, s := range kindScenarios {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			s.run(t, e, newFixture(t, kind, config, s.probe))
		})
	}
}

// entryText is the list of the kind alone, and of the suite's probe inside of it.
func entryText(name, config string) string {
	config = strings.TrimSpace(config)
	switch {
	case config == "":
		return "- " + name + "\n"
	case strings.HasPrefix(config, "{"):
		return "- " + name + ": " + config + "\n"
	}
	return "- " + name + ":\n    " + strings.ReplaceAll(config, "\n", "\n    ") + "\n"
}

func unknownKey(t *testing.T, kind middleware.Kind) {
	const key = "no_such_key"
	text := entryText(kind.Name, "{"+key+": 1}")
	n, err := conf.Parse("middleware.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = middleware.ParseList(n, []middleware.Kind{kind})
	if err == nil {
		t.Fatalf("%s: was taken", text)
	}
	place := fmt.Sprintf("middleware.yaml:1:%d: ", strings.Index(text, key)+1)
	if msg := err.Error(); !strings.HasPrefix(msg, place) || !strings.Contains(msg, key) {
		t.Errorf("the error should begin with %q and name the key:\n%s", place, msg)
	}
}

// probe is what stands inside of the kind under test.
type probe struct {
	request middleware.Middleware
	try     middleware.TryMiddleware
}

const probeName = "suiteprobe"

func (p probe) kind() middleware.Kind {
	type none struct{}
	return middleware.NewKind(probeName, func() none { return none{} }, func(none, middleware.Env) (middleware.Parts, error) {
		parts := middleware.Parts{Request: p.request, Try: p.try}
		if parts.Request == nil {
			parts.Request = hook{}
		}
		return parts, nil
	})
}

// fixture builds the kind as a program does, and puts it into a setup so that
// it can be built anew under traffic.
type fixture struct {
	list     middleware.List
	states   *middleware.States
	registry *prometheus.Registry

	mu      sync.Mutex
	current *generation
	slot    *middleware.Slot[*generation]
	trySlot *middleware.Slot[*generation]
}

// generation is one build, and the exchanges that use it.
type generation struct {
	*middleware.Generation
	chains *middleware.Chains
	users  sync.WaitGroup
}

func newFixture(t testing.TB, kind middleware.Kind, config string, p probe) *fixture {
	t.Helper()
	text := entryText(kind.Name, config) + "- " + probeName + "\n"
	n, err := conf.Parse("middleware.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	list, err := middleware.ParseList(n, []middleware.Kind{kind, p.kind()})
	if err != nil {
		t.Fatalf("%s%v", text, err)
	}
	return &fixture{
		list:     list,
		states:   middleware.NewStates(),
		registry: prometheus.NewPedanticRegistry(),
		slot:     middleware.NewSlot[*generation](),
		trySlot:  middleware.NewSlot[*generation](),
	}
}

func (f *fixture) build(t testing.TB, direction string) *generation {
	t.Helper()
	g := &generation{Generation: f.states.NewGeneration()}
	env := middleware.Env{Direction: direction, Logger: slog.New(slog.DiscardHandler), Metrics: f.registry}
	chains, err := f.list.Build(env.In(g.Generation))
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	g.chains = chains
	return g
}

// close waits for the generation's exchanges and closes it.
func (g *generation) close(t testing.TB) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		g.users.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("exchanges have not ended after %v", patience)
		return
	}
	if err := g.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// wantNothingLeft checks that what the kind registered is gone with its last
// generation.
func (f *fixture) wantNothingLeft(t testing.TB) {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Errorf("gather: %v", err)
	}
	for _, family := range families {
		t.Errorf("the metric %s is still registered after the last generation was closed", family.GetName())
	}
}

// reload builds anew, as after a change of the configuration.
func (f *fixture) reload(t testing.TB) {
	next := f.build(t, middleware.Inbound)
	f.mu.Lock()
	last := f.current
	f.current = next
	f.mu.Unlock()
	if last != nil {
		last.close(t)
	}
}

// start starts the engine with the kind in its chains.
func (f *fixture) start(t testing.TB, e Engine, s Setup) *client {
	t.Helper()
	f.reload(t)
	t.Cleanup(func() { // the engine has ended then
		f.current.close(t)
		f.wantNothingLeft(t)
	})
	s.Request = []middleware.Middleware{f.requestChain()}
	s.Try = []middleware.TryMiddleware{f.tryChain()}
	s.Policy = f
	return start(t, e, s)
}

// requestChain is the request chain of the generation that is current when a
// request comes. It ends in the router, so that the engine's own end of the
// chain is not reached.
func (f *fixture) requestChain() middleware.Middleware {
	return hook{
		serve: func(x *middleware.Exchange, _ middleware.Handler) error {
			f.mu.Lock()
			g := f.current
			g.users.Add(1)
			f.mu.Unlock()
			*f.slot.In(x) = g
			return g.chains.Request.Serve(x)
		},
		done: func(x *middleware.Exchange) { (*f.slot.In(x)).users.Done() },
	}
}

func (f *fixture) tryChain() middleware.TryMiddleware {
	return tryHook{
		try: func(a *middleware.Attempt, _ middleware.TryHandler) error {
			g := *f.slot.In(a.Exchange())
			g.users.Add(1)
			*f.trySlot.InTry(a) = g
			return g.chains.Try.Try(a)
		},
		done: func(a *middleware.Attempt) { (*f.trySlot.InTry(a)).users.Done() },
	}
}

// Next is the policy of the request's generation.
func (f *fixture) Next(x *middleware.Exchange, attempts []*middleware.Attempt) (bool, time.Duration) {
	if p := (*f.slot.In(x)).chains.Policy; p != nil {
		return p.Next(x, attempts)
	}
	return false, 0
}
