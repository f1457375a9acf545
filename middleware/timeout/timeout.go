// Package timeout is the middleware that limits how long a request may take, and
// that passes what is left of its time on from hop to hop: nobody works on an
// answer that its caller has given up waiting for.
//
// Limits only ever shrink: of several, the earliest counts, wherever it comes
// from. They are enforced by the engine (see middleware.Exchange.SetDeadline);
// the handler itself waits for nothing, has no state that requests share but
// counters, and allocates nothing.
package timeout

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is timeout in configuration files.
var Kind = middleware.NewKind("timeout", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	deadlines, err := middleware.Collector(e, "timeout", "deadlines", newDeadlines)
	if err != nil {
		return middleware.Parts{}, err
	}
	t := New(c, e.Direction, deadlines)
	parts := middleware.Parts{Request: t}
	if c.PerTry > 0 {
		parts.Try = t
	}
	return parts, nil
}

// What became of a deadline that came with a request, as indexes of results.
const (
	resultTaken = iota
	resultExpired
	resultMalformed
	resultForeign
	resultUntrusted
)

// results are the values of the label result.
var results = [...]string{
	resultTaken:     "taken",     // it limits the request
	resultExpired:   "expired",   // it was over: answered 504 at once
	resultMalformed: "malformed", // it was ignored: nobody knows what it means
	resultForeign:   "foreign",   // it was ignored: a moment by another machine's clock
	resultUntrusted: "untrusted", // it was ignored: a stranger's
}

func newDeadlines() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "outrigger_timeout_deadlines_total",
		Help: "Requests that came with a deadline, by what became of it.",
	}, []string{"direction", "result"})
}

// Timeout is the middleware.
type Timeout struct {
	config Config
	trust  bool
	// app: the next hop is the app beside this sidecar, which reads our clock.
	// fromApp: the one before is.
	app, fromApp bool
	deadlines    [len(results)]prometheus.Counter
}

var (
	_ middleware.Middleware    = (*Timeout)(nil)
	_ middleware.TryMiddleware = (*Timeout)(nil)
)

// New makes the middleware of a valid configuration.
func New(c Config, direction string, deadlines *prometheus.CounterVec) *Timeout {
	t := &Timeout{
		config:  c,
		trust:   direction != middleware.Gateway,
		app:     direction == middleware.Inbound,
		fromApp: direction == middleware.Outbound,
	}
	if c.Trust != nil {
		t.trust = *c.Trust
	}
	for i, result := range results {
		t.deadlines[i] = deadlines.WithLabelValues(direction, result)
	}
	return t
}

// Wrap makes the handler of the request stage.
func (t *Timeout) Wrap(next middleware.Handler) middleware.Handler { return &handler{t, next} }

// WrapTry makes the handler of the attempt stage.
func (t *Timeout) WrapTry(next middleware.TryHandler) middleware.TryHandler {
	return middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
		if t.config.PerTry > 0 {
			a.SetDeadline(a.Start.Add(t.config.PerTry))
		}
		return next.Try(a)
	})
}

type handler struct {
	*Timeout
	next middleware.Handler
}

func (h *handler) Serve(x *middleware.Exchange) error {
	start := x.Start
	if start.IsZero() {
		start = time.Now()
	}
	if h.config.Request > 0 {
		x.SetDeadline(start.Add(h.config.Request))
	}
	if d := x.RouteTimeout(); d > 0 { // now, so that it is passed on
		x.SetDeadline(start.Add(d))
	}
	x.SetIdle(h.config.Idle)
	if over := h.incoming(x, start); over {
		return tooLate(x)
	}
	deadline, limited := x.Deadline()
	if !limited {
		x.Request.Header.Del(field)
		return h.next.Serve(x)
	}
	now := time.Now()
	left := deadline.Sub(now)
	if left < time.Millisecond {
		return tooLate(x)
	}
	var value [maxAbsoluteDigits + 8]byte
	if h.app {
		x.Request.Header.SetBytes(field, appendAbsolute(value[:0], now, left))
	} else {
		x.Request.Header.SetBytes(field, appendRemaining(value[:0], left))
	}
	return h.next.Serve(x)
}

// tooLate answers a request that there is no time left for.
func tooLate(x *middleware.Exchange) error {
	return x.ReplyMessage(http.StatusGatewayTimeout, middleware.ReasonDeadline, "the time allowed for this request was over before it came here")
}

// incoming honours the deadline that came with the request, and reports whether
// it is over. Of several fields the earliest deadline counts.
func (h *handler) incoming(x *middleware.Exchange, start time.Time) (over bool) {
	header := &x.Request.Header
	for i := range header.Len() {
		f := header.At(i)
		if !middleware.EqualFold(f.Name, field) {
			continue
		}
		ms, form := parse(f.Value)
		result := resultTaken
		switch {
		case !h.trust:
			result = resultUntrusted
		case form == malformed:
			result = resultMalformed
		case form == absolute && !h.fromApp:
			result = resultForeign
		default:
			deadline := resolve(ms, form, start)
			if time.Until(deadline) >= time.Millisecond {
				x.SetDeadline(deadline)
				break
			}
			// Not set as a deadline, which would cut the answer off.
			result, over = resultExpired, true
		}
		h.deadlines[result].Inc()
	}
	return over
}
