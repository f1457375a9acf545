package middleware

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Wire is what an engine gives to an Exchange: the client's side of it.
type Wire interface {
	// Interrupt is called once when the exchange is canceled, from any
	// goroutine; it must not block. Blocked reads of the request body end,
	// and so do blocked writes of the response once its head was sent.
	Interrupt(x *Exchange, cause error)
	// Inform sends an interim response (1xx).
	Inform(status int, h *Header) error
	// Rematch looks the request up in the route table again, as it is now.
	Rematch(x *Exchange) (*Target, error)
}

// Route says where an exchange was routed to, in words that metrics and logs
// may use: their number is bounded by the configuration. It does not change.
type Route struct {
	Listener string // inbound, outbound or gateway
	Service  string // the service's name, such as users.default:80; empty where there is none
	Name     string // of the rule
}

// Picker chooses the endpoint of an attempt: the same method as
// internal/balance.Balancer.
type Picker interface {
	Pick(a *Attempt) (*Endpoint, error)
}

// Target is what the router needs to know of a route: built with the route
// table, shared by all its requests, not changed.
type Target struct {
	Route  *Route
	Chain  Handler                           // the request chain, which ends in Router; nil: Router alone
	Pick   func(x *Exchange) (Picker, error) // a weighted route chooses a cluster each time
	Try    TryHandler                        // the attempt chain
	Policy TryPolicy                         // nil: one attempt
	// MaxAttempts bounds what the policy may ask for; 0 is DefaultMaxAttempts.
	MaxAttempts int
	// Timeout limits the whole exchange, from Start; 0 sets none.
	Timeout time.Duration
}

// Use gives the target its chains.
func (t *Target) Use(c *Chains) { t.Chain, t.Try, t.Policy = c.Request, c.Try, c.Policy }

// DefaultMaxAttempts bounds the attempts of one exchange.
const DefaultMaxAttempts = 8

// Exchange is one request and its response. An HTTP/1.1 connection uses one
// for all of its requests, an HTTP/2 stream has its own.
type Exchange struct {
	Request  Request
	Response *Response // what goes to the client; Status 0 until a head is known
	Start    time.Time // when the request's head was complete
	Logger   *slog.Logger

	wire      Wire
	target    *Target
	rerouted  bool
	hedged    bool
	served    bool // Serve has returned: the head can be sent
	local     localReply
	canceled  bool // the answer is what cancellation made of it
	reason    Reason
	requestID []byte
	trace     Trace
	grpc      grpcState
	shapers   []ReplyShaper
	done      []Doner
	slots     slots
	attempts  []*Attempt
	pool      []*Attempt
	idle      time.Duration
	sent      int64
	holds     atomic.Int32 // goroutines that still use this exchange

	mu       sync.Mutex // guards what follows, and the attempts' state
	cause    error
	err      error
	ended    bool
	deadline time.Time
	timer    *time.Timer
	ctx      context.Context
	cancel   context.CancelCauseFunc
}

// NewExchange makes an exchange for the engine's wire.
func NewExchange(w Wire) *Exchange {
	x := &Exchange{wire: w, Logger: slog.New(slog.DiscardHandler)}
	x.Response = &x.local.response
	return x
}

// Reset makes x ready for the next request on the same wire. It returns false
// when a goroutine of the last one is not back yet: then the wire takes a new
// exchange and leaves this one to the garbage collector.
func (x *Exchange) Reset() bool {
	if x.holds.Load() != 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cause, x.err, x.ended, x.deadline, x.ctx, x.cancel = nil, nil, false, time.Time{}, nil, nil
	r := &x.Request
	r.Proto, r.ContentLength, r.Peer = 0, 0, Peer{Addr: r.Peer.Addr, Identity: r.Peer.Identity}
	r.Method, r.Scheme, r.Authority, r.Target, r.Upgrade = nil, nil, nil, nil, nil
	r.Header.Reset()
	r.Trailer.Reset()
	r.Body.Reset(nil)
	x.local.reset()
	x.Response = &x.local.response
	x.Start, x.target, x.rerouted, x.hedged, x.served, x.reason = time.Time{}, nil, false, false, false, ReasonNone
	x.canceled = false
	x.requestID = x.requestID[:0]
	x.trace = Trace{}
	x.grpc = grpcState{}
	clear(x.shapers)
	x.shapers = x.shapers[:0]
	x.done = x.done[:0]
	x.attempts = x.attempts[:0]
	x.idle, x.sent = 0, 0
	x.slots.reset()
	return true
}

// SetTarget gives the exchange its route. Engines call it before Serve.
func (x *Exchange) SetTarget(t *Target) { x.target = t }

// Chain is the request chain of the exchange's route. Engines give it to Serve.
func (x *Exchange) Chain() Handler {
	if x.target == nil || x.target.Chain == nil {
		return Router
	}
	return x.target.Chain
}

// Route is where the request goes; nil before it was routed, and when no route
// was found.
func (x *Exchange) Route() *Route {
	if x.target == nil {
		return nil
	}
	return x.target.Route
}

// RouteTimeout is the route's limit for the whole exchange, from Start; 0 for
// none. The router sets it as a deadline, for a middleware that wants to know it
// before.
func (x *Exchange) RouteTimeout() time.Duration {
	if x.target == nil {
		return 0
	}
	return x.target.Timeout
}

// Reroute has the request looked up again after its target or authority were
// changed. The request chain goes on as it is; the attempts are made for the
// new route. It works once per exchange, and not past the router.
func (x *Exchange) Reroute() error {
	if x.rerouted || len(x.attempts) > 0 {
		return errors.New("reroute: only once, and only before the router")
	}
	t, err := x.wire.Rematch(x)
	if err != nil {
		return err
	}
	x.rerouted = true
	x.target = t
	return nil
}

// Serve runs the chain for this exchange. When it returns, Response is what to
// send; false says that nothing can be sent, because the client is gone.
// Panics end in a local reply. Engines call it.
func (x *Exchange) Serve(h Handler) bool {
	x.beginGRPC()
	err := x.serve(h)
	x.served = true
	if cause := x.Cause(); cause != nil && err == nil && x.Response != &x.local.response {
		err = cause
	}
	if err != nil {
		return x.Fail(err)
	}
	if x.Response.Status == 0 {
		return x.Fail(&Reject{Status: 500, Reason: ReasonInternal, Err: errors.New("the chain gave no answer")})
	}
	return true
}

func (x *Exchange) serve(h Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = x.panicked(p)
		}
	}()
	return h.Serve(x)
}

func (x *Exchange) panicked(p any) error {
	x.Logger.Error("panic in middleware", "panic", p, "stack", string(debug.Stack()))
	return &Reject{Status: 500, Reason: ReasonInternal}
}

// guard keeps a panic in one handler's Done from the others'.
func (x *Exchange) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			_ = x.panicked(p)
		}
	}()
	f()
}

// End is the end of the exchange: the response was sent whole (err is nil), or
// broke off. Attempts end, then Done runs in reverse order. Engines call it,
// once.
func (x *Exchange) End(err error) {
	x.mu.Lock()
	x.ended = true
	x.deadline = time.Time{}
	if x.timer != nil {
		x.timer.Stop()
	}
	x.err = err
	if err == nil && x.canceled { // one that came after the last byte is not how it ended
		x.err = x.cause
	}
	cancel := x.cancel
	x.mu.Unlock()
	if x.Response.Body != nil {
		x.guard(func() { _ = x.Response.Body.Close() })
	}
	x.endAttempts((*Attempt).finish, err)
	for i := len(x.done) - 1; i >= 0; i-- {
		x.guard(func() { x.done[i].Done(x) })
	}
	x.endAttempts((*Attempt).discard, err)
	if cancel != nil {
		cancel(ErrEnded)
	}
}

// endAttempts ends what has returned, and tells what still runs that it is not
// wanted: its own goroutine then ends it.
func (x *Exchange) endAttempts(end func(*Attempt, error), err error) {
	for i := len(x.attempts) - 1; i >= 0; i-- {
		a := x.attempts[i]
		x.mu.Lock()
		if a.running && !a.ended {
			a.lost = true
			a.cancelLocked(ErrEnded)
			x.mu.Unlock()
			continue
		}
		x.mu.Unlock()
		end(a, err)
	}
}

// Err says how the exchange ended: nil when the response was sent whole. It is
// for Done.
func (x *Exchange) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// AddSent counts bytes of the response's body that went to the client. Engines
// call it.
func (x *Exchange) AddSent(n int64) { x.sent += n }

// Sent is how many bytes of the response's body went to the client, without
// framing; after a 101, how many of what came from the endpoint. It is for Done.
func (x *Exchange) Sent() int64 { return x.sent }

// Attempts is what was tried, in order; valid until Done has returned.
func (x *Exchange) Attempts() []*Attempt { return x.attempts }

// Held reports whether a goroutine beside the engine's still uses the exchange.
func (x *Exchange) Held() bool { return x.holds.Load() != 0 }

// Hold keeps the exchange from being used again until Release: for a goroutine
// that uses it beside the engine's.
func (x *Exchange) Hold() { x.holds.Add(1) }

// Release is the end of Hold.
func (x *Exchange) Release() { x.holds.Add(-1) }
