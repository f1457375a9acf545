package registrar

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/registry"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger is a registry that notes the calls, and fails or hangs as it is told.
type ledger struct {
	registry.Registry // what is not used here

	mu    sync.Mutex
	start time.Time
	calls []string // "12s register", by the time since start
	known bool
	fail  map[string]int           // how many calls of an operation fail
	hang  map[string]chan struct{} // an operation returns when it is closed, whatever its context says
}

func newLedger() *ledger {
	return &ledger{start: time.Now(), fail: map[string]int{}, hang: map[string]chan struct{}{}}
}

func (l *ledger) Register(_ *registry.Service, opts ...registry.RegisterOption) error {
	var o registry.RegisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	return l.note("register", o.TTL == DefaultTTL, true)
}

func (l *ledger) Deregister(*registry.Service, ...registry.DeregisterOption) error {
	return l.note("deregister", true, false)
}

func (l *ledger) note(op string, ok, known bool) error {
	l.mu.Lock()
	l.calls = append(l.calls, time.Since(l.start).Round(time.Second).String()+" "+op)
	hang := l.hang[op]
	l.mu.Unlock()
	if hang != nil {
		<-hang
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail[op] > 0 {
		l.fail[op]--
		return errors.New("away")
	}
	if !ok {
		return errors.New("wrong TTL")
	}
	l.known = known
	return nil
}

func (l *ledger) history() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.calls...)
}

func (l *ledger) knows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known
}

// bench is a running Registrar whose app is up or down as the test says. It is
// made inside a synctest bubble, so its seconds cost nothing.
type bench struct {
	*Registrar
	ledger *ledger
	up     atomic.Bool
	logs   bytes.Buffer
	probes atomic.Int32
}

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	b := &bench{ledger: newLedger()}
	opts := Options{
		Probe: func(context.Context) error {
			b.probes.Add(1)
			if !b.up.Load() {
				return errors.New("connection refused")
			}
			return nil
		},
		Registry: b.ledger,
		Service: func() (*registry.Service, error) {
			return &registry.Service{Name: "orders", Nodes: []*registry.Node{{Id: "orders-1", Address: "127.0.0.1:15006"}}}, nil
		},
		Logger:  slog.New(slog.NewTextHandler(&b.logs, nil)),
		Metrics: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&opts)
	}
	b.Registrar = New(opts)
	return b
}

// run starts the registrar; the function it returns stops it and waits.
func (b *bench) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// pass lets time go by in the bubble.
func pass(d time.Duration) { <-time.After(d) }

func wantHistory(t *testing.T, l *ledger, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.history()); diff != "" {
		t.Errorf("calls to the registry (-want +got):\n%s", diff)
	}
}

func TestRegistersOnlyWhileHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.run(t)()
		pass(61 * time.Second)
		if s := b.Status(); s.Health != Waiting || s.Registration != RegistrationNone {
			t.Errorf("before the app is up: %+v", s)
		}
		wantHistory(t, b.ledger)

		b.up.Store(true)
		pass(60 * time.Second)
		if s := b.Status(); s.Health != Healthy || s.Registration != RegistrationRegistered ||
			!cmp.Equal(s.Nodes, []Node{{ID: "orders-1", Address: "127.0.0.1:15006"}}) {
			t.Errorf("with the app up: %+v", s)
		}
		b.up.Store(false)
		pass(60 * time.Second)
		if s := b.Status(); s.Health != Unhealthy || s.Registration != RegistrationNone || s.ProbeError != "connection refused" {
			t.Errorf("after the app went: %+v", s)
		}
		ops := b.ledger.history()
		for i := range ops {
			_, ops[i], _ = strings.Cut(ops[i], " ")
		}
		if diff := cmp.Diff([]string{"register", "deregister"}, ops); diff != "" {
			t.Errorf("calls to the registry (-want +got):\n%s", diff)
		}
	})
}

func TestHealthChangesAfterProbesInARow(t *testing.T) {
	b := New(Options{HealthyAfter: 2, UnhealthyAfter: 3})
	bad := errors.New("bad")
	steps := []struct {
		err  error
		want Health
	}{
		{bad, Waiting},
		{bad, Waiting},
		{bad, Waiting},
		{bad, Waiting},
		{nil, Waiting},
		{bad, Waiting},
		{nil, Waiting},
		{nil, Healthy},
		{bad, Healthy},
		{bad, Healthy},
		{nil, Healthy},
		{bad, Healthy},
		{bad, Healthy},
		{bad, Unhealthy},
		{nil, Unhealthy},
		{bad, Unhealthy},
		{nil, Unhealthy},
		{nil, Healthy},
	}
	for i, s := range steps {
		b.observe(s.err)
		if got := b.Status().Health; got != s.want {
			t.Fatalf("after probe %d (%v): %s, want %s", i+1, s.err, got, s.want)
		}
		if b.Healthy() != (s.want == Healthy) {
			t.Fatalf("after probe %d: Healthy() = %t", i+1, b.Healthy())
		}
	}
}

func TestLogsChangesOnlyAndNotEachProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		stop := b.run(t)
		for _, up := range []bool{false, true, false} {
			b.up.Store(up)
			pass(100 * time.Second)
		}
		stop()
		if n := b.probes.Load(); n < 130 {
			t.Errorf("%d probes in 300 s, want about 150", n)
		}
		var got []string
		for line := range strings.Lines(b.logs.String()) {
			_, msg, _ := strings.Cut(line, "msg=")
			if quoted, ok := strings.CutPrefix(msg, `"`); ok {
				msg, _, _ = strings.Cut(quoted, `"`)
			}
			msg, _, _ = strings.Cut(strings.TrimSpace(msg), " service=")
			got = append(got, msg)
		}
		want := []string{
			"the app is not up yet, waiting for it",
			"the app is healthy", "registered",
			"the app is unhealthy", "deregistered",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestFailedRegisterIsRetriedAndVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		b.ledger.fail["register"] = 6
		defer b.run(t)()
		pass(4 * time.Second) // healthy after about 2 s, the first tries failed
		if s := b.Status(); s.Registration != RegistrationPending || s.Failures == 0 || !strings.Contains(s.Error, "register orders: away") {
			t.Errorf("while the registry is away: %+v", s)
		}
		pass(10 * time.Second)
		if s := b.Status(); s.Registration != RegistrationRegistered || s.Failures != 0 || s.Error != "" {
			t.Errorf("after the registry came back: %+v", s)
		}
		if n := len(b.ledger.history()); n != 7 {
			t.Errorf("%d calls, want 6 failures and one success", n)
		}
		if n := strings.Count(b.logs.String(), "retrying"); n != 1 {
			t.Errorf("the failure was logged %d times, want once", n)
		}
	})
}

func TestAppHealthyAgainAfterFailedDeregisterIsRegisteredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		b.ledger.fail["deregister"] = 1 << 20
		defer b.run(t)()
		pass(10 * time.Second)
		b.up.Store(false)
		pass(10 * time.Second)
		if s := b.Status(); s.Registration != RegistrationLeaving || s.Error == "" {
			t.Errorf("while it cannot be deregistered: %+v", s)
		}
		before := len(b.ledger.history())
		b.up.Store(true)
		pass(20 * time.Second)
		if s := b.Status(); s.Registration != RegistrationRegistered {
			t.Errorf("healthy again: %+v", s)
		}
		if h := b.ledger.history(); len(h) == before || !strings.HasSuffix(h[len(h)-1], " register") {
			t.Errorf("the last call is not a register: %v", h)
		}
	})
}

func TestRenewsAStandingRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.RenewEvery = 5 * time.Second; o.HealthyAfter = 1 })
		b.up.Store(true)
		defer b.run(t)()
		pass(21 * time.Second)
		wantHistory(t, b.ledger, "0s register", "5s register", "10s register", "15s register", "20s register")
	})
}

func TestWithoutRegistryOnlyHealthIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.Registry = nil; o.Service = nil })
		b.up.Store(true)
		defer b.run(t)()
		pass(10 * time.Second)
		if s := b.Status(); s.Health != Healthy || s.Registration != RegistrationNone {
			t.Errorf("status = %+v", s)
		}
		if err := b.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister: %v", err)
		}
	})
}

func TestWithoutProbeTheAppIsHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.Probe = nil })
		defer b.run(t)()
		pass(10 * time.Second)
		if !b.Healthy() {
			t.Errorf("status = %+v", b.Status())
		}
	})
}
