package registrar

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go-micro.dev/v4/registry"
)

func TestAfterDeregisterHealthNeverRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		defer b.run(t)()
		pass(10 * time.Second)
		if !b.ledger.knows() {
			t.Fatal("not registered")
		}
		for range 2 {
			if err := b.Deregister(t.Context()); err != nil {
				t.Fatalf("Deregister: %v", err)
			}
		}
		for _, up := range []bool{false, true} {
			b.up.Store(up)
			pass(60 * time.Second)
		}
		if s := b.Status(); s.Health != Healthy || s.Registration != RegistrationClosed {
			t.Errorf("status = %+v", s)
		}
		if h := b.ledger.history(); len(h) != 2 || b.ledger.knows() {
			t.Errorf("calls = %v, want one register and one deregister", h)
		}
	})
}

func TestDeregisterWorksAfterRunEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		stop := b.run(t)
		pass(10 * time.Second)
		stop()
		if !b.ledger.knows() {
			t.Fatal("the end of Run deregistered by itself")
		}
		if err := b.Deregister(t.Context()); err != nil || b.ledger.knows() {
			t.Errorf("error = %v, still known = %t", err, b.ledger.knows())
		}
	})
}

func TestConcurrentDeregistersMakeOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		defer b.run(t)()
		pass(10 * time.Second)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := b.Deregister(t.Context()); err != nil {
					t.Errorf("Deregister: %v", err)
				}
			})
		}
		wg.Wait()
		if h := b.ledger.history(); len(h) != 2 {
			t.Errorf("calls = %v", h)
		}
	})
}

func TestDeregisterTriesAgainAndThenReturnsTheError(t *testing.T) {
	tests := []struct {
		name     string
		failures int
		calls    int
		wantErr  bool
	}{
		{"one failure is made good", 1, 1 + 2, false},
		{"a registry that is away", 1 << 20, 1 + finalTries, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.up.Store(true)
				b.ledger.fail["deregister"] = tt.failures
				defer b.run(t)()
				pass(10 * time.Second)
				err := b.Deregister(t.Context())
				if (err != nil) != tt.wantErr {
					t.Errorf("error = %v", err)
				}
				if tt.wantErr && !strings.Contains(err.Error(), "deregister orders: away") {
					t.Errorf("error = %v, want it to name the operation and the service", err)
				}
				if h := b.ledger.history(); len(h) != tt.calls {
					t.Errorf("calls = %v, want %d", h, tt.calls)
				}
			})
		})
	}
}

func TestHangingRegistryHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.up.Store(true)
		release := make(chan struct{})
		b.ledger.hang["register"] = release
		stop := b.run(t)
		pass(20 * time.Second)
		if n := b.probes.Load(); n < 8 {
			t.Errorf("%d probes in 20 s: the registry held them up", n)
		}
		if s := b.Status(); s.Registration != RegistrationPending || s.Failures == 0 {
			t.Errorf("status = %+v", s)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin := time.Now()
		if err := b.Deregister(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Deregister = %v, want deadline exceeded", err)
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("Deregister took %s, want 2s", d)
		}
		stop()

		// The call that everybody gave up on succeeds at last: it is undone.
		close(release)
		synctest.Wait()
		if b.ledger.knows() {
			t.Errorf("a late register stood: %v", b.ledger.history())
		}
	})
}

func TestServiceThatCannotBeBuiltIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := false
		b := newBench(t, func(o *Options) {
			build := o.Service
			o.Service = func() (*registry.Service, error) {
				if !bound {
					bound = true
					return nil, errors.New("listen.inbound is not bound yet")
				}
				return build()
			}
		})
		b.up.Store(true)
		defer b.run(t)()
		pass(10 * time.Second)
		if !b.ledger.knows() {
			t.Errorf("status = %+v", b.Status())
		}
	})
}
