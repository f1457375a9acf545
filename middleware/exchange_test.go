package middleware

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// nowhere is a wire without a client.
type nowhere struct{}

func (nowhere) Interrupt(*Exchange, error)         {}
func (nowhere) Inform(int, *Header) error          { return nil }
func (nowhere) Rematch(*Exchange) (*Target, error) { return nil, errors.New("nowhere") }

func newTestExchange() *Exchange {
	x := NewExchange(nowhere{})
	x.Logger = slog.New(slog.DiscardHandler)
	return x
}

// instant is a transport whose response is always there, and its stream.
type instant struct {
	body     strings.Reader
	finished int
}

func (s *instant) Try(a *Attempt) error {
	if err := a.Bind(s); err != nil {
		return err
	}
	a.MarkSent()
	s.body.Reset("hello")
	a.Response.Status = http.StatusOK
	a.Response.ContentLength = 5
	a.Response.Body = s
	return nil
}

func (s *instant) Interrupt(error)            {}
func (s *instant) Finish()                    { s.finished++ }
func (s *instant) Read(p []byte) (int, error) { return s.body.Read(p) }
func (s *instant) Close() error               { return nil }

type onePicker struct{ e *Endpoint }

func (p onePicker) Pick(*Attempt) (*Endpoint, error) { return p.e, nil }

// testTarget is a route to one endpoint, made of what a real one is made of.
func testTarget(transport TryHandler, policy TryPolicy, ms ...TryMiddleware) *Target {
	picker := &onePicker{&Endpoint{Key: "e", Address: "e:80", Stats: new(Stats), Transport: transport}}
	return &Target{
		Route:  &Route{Listener: Inbound, Service: "users", Name: "default"},
		Pick:   func(*Exchange) (Picker, error) { return picker, nil },
		Try:    TryChain(Transport, ms...),
		Policy: policy,
	}
}

// counting is a middleware of both stages that keeps something per request.
type counting struct {
	slot *Slot[struct{ n int }]
	done int
}

func (c *counting) Wrap(next Handler) Handler { return &countingHandler{c, next} }

func (c *counting) WrapTry(next TryHandler) TryHandler { return &countingTryHandler{c, next} }

type countingHandler struct {
	*counting
	next Handler
}

func (h *countingHandler) Serve(x *Exchange) error {
	h.slot.In(x).n++
	return h.next.Serve(x)
}

func (h *countingHandler) Done(x *Exchange) { h.done += h.slot.In(x).n }

type countingTryHandler struct {
	*counting
	next TryHandler
}

func (h *countingTryHandler) Try(a *Attempt) error {
	h.slot.InTry(a).n++
	return h.next.Try(a)
}

func (h *countingTryHandler) TryDone(a *Attempt) { h.done += h.slot.InTry(a).n }

func TestAnExchangeAllocatesNothingInSteadyState(t *testing.T) {
	newCounting := func() *counting { return &counting{slot: NewSlot[struct{ n int }]()} }
	a, b, c := newCounting(), newCounting(), newCounting()
	chain := Chain(Router, a, b, c)
	transport := &instant{}
	target := testTarget(transport, fixedPolicy{}, a, b)
	x := newTestExchange()
	name, value := []byte("x-name"), []byte("value")
	method, path := []byte("GET"), []byte("/")
	buf := make([]byte, 64)
	runs := 0
	serve := func() {
		runs++
		if !x.Reset() {
			t.Fatal("the exchange is held")
		}
		x.Start = time.Now()
		x.Request.Method, x.Request.Target = method, path
		x.Request.Header.Append(name, value)
		x.SetTarget(target)
		x.SetDeadline(x.Start.Add(time.Hour))
		if !x.Serve(chain) || x.Response.Status != http.StatusOK {
			t.Fatalf("status %d", x.Response.Status)
		}
		x.Response.Header.Set("x-more", "value")
		for {
			if _, err := x.Response.Body.Read(buf); errors.Is(err, io.EOF) {
				break
			}
		}
		x.End(nil)
	}
	serve()
	if n := testing.AllocsPerRun(200, serve); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if a.done != 2*runs || b.done != 2*runs || c.done != runs || transport.finished != runs {
		t.Errorf("%d runs, but %d, %d and %d Dones and %d finished streams", runs, a.done, b.done, c.done, transport.finished)
	}
}

func TestStatsCountWhatSpeaksAgainstAnEndpoint(t *testing.T) {
	tests := map[string]struct {
		transport TryHandler
		end       error // of the response's body
		failures  uint64
	}{
		"good response":     {&instant{}, nil, 0},
		"no response":       {TryHandlerFunc(func(*Attempt) error { return &Reject{Status: 502, Reason: ReasonUpstreamReset} }), nil, 1},
		"broken body":       {&instant{}, io.ErrUnexpectedEOF, 1},
		"client left":       {&instant{}, ErrClientGone, 0},
		"panic in the try":  {TryHandlerFunc(func(*Attempt) error { panic("on purpose") }), nil, 1},
		"deadline in a try": {TryHandlerFunc(func(a *Attempt) error { a.Exchange().Cancel(ErrDeadline); return ErrDeadline }), nil, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newTestExchange()
			target := testTarget(tt.transport, nil)
			x.SetTarget(target)
			x.Serve(Router)
			stats := x.Attempts()[0].Endpoint.Stats
			if stats.Attempts.Load() != 1 {
				t.Errorf("%d attempts", stats.Attempts.Load())
			}
			x.End(tt.end)
			if stats.Active.Load() != 0 || stats.Failures.Load() != tt.failures {
				t.Errorf("active %d, failures %d; want 0 and %d", stats.Active.Load(), stats.Failures.Load(), tt.failures)
			}
		})
	}
}

func TestDeadlineCutsTheAttemptShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTestExchange()
		interrupted := make(chan error, 1)
		x.SetTarget(testTarget(TryHandlerFunc(func(a *Attempt) error {
			if err := a.Bind(&waiting{interrupted}); err != nil {
				return err
			}
			return <-interrupted
		}), nil))
		start := time.Now()
		x.SetDeadline(start.Add(time.Minute))
		x.SetDeadline(start.Add(time.Hour)) // a later one changes nothing
		if !x.Serve(Router) || x.Response.Status != http.StatusGatewayTimeout || x.Reason() != ReasonDeadline {
			t.Errorf("%d %s", x.Response.Status, x.Reason())
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("after %v, want 1m", took)
		}
		x.End(nil)
		if !errors.Is(x.Err(), ErrDeadline) {
			t.Errorf("Err is %v", x.Err())
		}
	})
}

type waiting struct{ interrupted chan error }

func (w *waiting) Interrupt(cause error) { w.interrupted <- cause }
func (w *waiting) Finish()               {}

// TestAttemptThatIsInterruptedAsItsHeadComesIsNotCommitted is the race of a
// time limit with the response: the stream is broken then, whatever Try says.
func TestAttemptThatIsInterruptedAsItsHeadComesIsNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTestExchange()
		transport := &instant{}
		x.SetTarget(testTarget(transport, nil, TryFunc(func(a *Attempt, next TryHandler) error {
			a.SetDeadline(time.Now().Add(time.Second))
			err := next.Try(a)
			time.Sleep(time.Minute)
			return err
		})))
		x.Serve(Router)
		if x.Response.Status != http.StatusGatewayTimeout || x.Reason() != ReasonTryTimeout {
			t.Errorf("%d %s", x.Response.Status, x.Reason())
		}
		x.End(nil)
		if transport.finished != 1 {
			t.Errorf("the stream was finished %d times", transport.finished)
		}
	})
}

func TestDeadlineOfTheLastRequestNeverHitsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTestExchange()
		x.SetDeadline(time.Now().Add(time.Second))
		x.End(nil)
		x.Reset()
		x.SetDeadline(time.Now().Add(time.Hour))
		time.Sleep(time.Minute)
		if cause := x.Cause(); cause != nil {
			t.Errorf("canceled: %v", cause)
		}
		time.Sleep(time.Hour)
		if cause := x.Cause(); !errors.Is(cause, ErrDeadline) {
			t.Errorf("its own deadline has passed, but the cause is %v", cause)
		}
		x.End(nil)
	})
}

func TestContextIsCanceledHoweverLateItIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		end  func(x *Exchange)
		want error
	}{
		"running":     {func(*Exchange) {}, nil},
		"canceled":    {func(x *Exchange) { x.Cancel(ErrClientGone) }, ErrClientGone},
		"ended":       {func(x *Exchange) { x.End(nil) }, ErrEnded},
		"first cause": {func(x *Exchange) { x.Cancel(ErrDeadline); x.Cancel(ErrClientGone) }, ErrDeadline},
	}
	for name, tt := range tests {
		for _, early := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				x := newTestExchange()
				if early {
					x.Context()
				}
				tt.end(x)
				if cause := context.Cause(x.Context()); !errors.Is(cause, tt.want) {
					t.Errorf("asked early %t: cause %v, want %v", early, cause, tt.want)
				}
			})
		}
	}
}

func TestRetryThenHedgeStartsFromTheLiveAttempt(t *testing.T) {
	x := newTestExchange()
	var tried []int
	x.SetTarget(testTarget(TryHandlerFunc(func(a *Attempt) error {
		tried = append(tried, a.Number)
		if a.Number == 0 {
			return &Reject{Status: 503, Reason: ReasonConnectFailed}
		}
		return (&instant{}).Try(a)
	}), retryThenHedge{}))
	if !x.Serve(Router) || x.Response.Status != http.StatusOK {
		t.Errorf("status %d %s", x.Response.Status, x.Reason())
	}
	if len(tried) != 2 || tried[1] != 1 {
		t.Errorf("tried %v, want 0 and 1", tried)
	}
	x.End(nil)
}

// retryThenHedge tries again at once, and wants company for the second try only.
type retryThenHedge struct{}

func (retryThenHedge) Next(_ *Exchange, attempts []*Attempt) (bool, time.Duration) {
	last := attempts[len(attempts)-1]
	if last.Running() {
		return len(attempts) == 2, time.Hour
	}
	return len(attempts) == 1, 0
}

func BenchmarkExchange(b *testing.B) {
	c := &counting{slot: NewSlot[struct{ n int }]()}
	chain := Chain(Router, c, c, c)
	target := testTarget(&instant{}, nil)
	x := newTestExchange()
	b.ReportAllocs()
	for b.Loop() {
		x.Reset()
		x.SetTarget(target)
		x.Serve(chain)
		x.End(nil)
	}
}
