// Package breaker is the middleware that stops calling what fails: a circuit
// breaker for each endpoint or service, in the attempt stage.
//
// A circuit is closed, open or half-open. A closed one counts the outcomes of
// calls in a sliding window, without a lock and without allocating; when the
// share of failures is too high it opens and refuses every call for a while;
// then it is half-open and lets a few calls pass, whose outcomes close it or
// open it again. A refusal has sent nothing, so that the request may be tried
// elsewhere whatever its method, and it is never counted as a failure.
//
// Circuits outlive a reload of the configuration: changed limits apply to the
// circuits as they are.
package breaker

import (
	"errors"
	"net/http"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ReasonCircuitOpen is why an attempt was refused.
const ReasonCircuitOpen middleware.Reason = "circuit_open"

// Kind is breaker in configuration files.
var Kind = middleware.NewKind("breaker", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	shared, err := newCollectors(e)
	if err != nil {
		return middleware.Parts{}, err
	}
	state := middleware.State(e, "circuits/"+string(c.Scope), func() *circuits {
		return newCircuits(func(service string) *series { return shared.series(e.Direction, service, e.ID) })
	})
	return middleware.Parts{Try: newBreaker(c, state)}, nil
}

// Breaker is the middleware.
type Breaker struct {
	settings *settings
	circuits *circuits
	passes   *middleware.Slot[pass]
}

var _ middleware.TryMiddleware = (*Breaker)(nil)

func newBreaker(c Config, state *circuits) *Breaker {
	return &Breaker{settings: newSettings(c), circuits: state, passes: middleware.NewSlot[pass]()}
}

// WrapTry makes the handler.
func (b *Breaker) WrapTry(next middleware.TryHandler) middleware.TryHandler { return &handler{b, next} }

type handler struct {
	*Breaker
	next middleware.TryHandler
}

var _ middleware.TryDoner = (*handler)(nil)

func (h *handler) Try(a *middleware.Attempt) error {
	service := ""
	if r := a.Exchange().Route(); r != nil {
		service = r.Service
	}
	key := service
	if h.settings.config.Scope == ByEndpoint {
		key = a.Endpoint.Key
	}
	began := int64(a.Start.Sub(h.circuits.start))
	c := h.circuits.get(h.settings, key, service, began)
	p, ok := c.admit(h.settings, began)
	if !ok {
		c.series.refused.Inc()
		return h.refusal()
	}
	slot := h.passes.InTry(a)
	*slot = p
	err := h.next.Try(a)
	now := h.circuits.now()
	slot.settle(h.settings, now, h.outcome(a, err, time.Duration(now-began)))
	return err
}

// TryDone gives back what an attempt holds that did not come to an outcome, a
// panic further in for example.
func (h *handler) TryDone(a *middleware.Attempt) {
	h.passes.InTry(a).settle(h.settings, h.circuits.now(), neutral)
}

// The refusals are made once: while a circuit is open there are many.
var (
	endpointOpen = &middleware.Reject{
		Status: http.StatusServiceUnavailable, Reason: ReasonCircuitOpen,
		Message: "this instance of the service is failing and is given a pause: try again later",
	}
	serviceOpen = &middleware.Reject{
		Status: http.StatusServiceUnavailable, Reason: ReasonCircuitOpen,
		Message: "the service is failing and is given a pause: try again later",
	}
)

func (h *handler) refusal() error {
	if h.settings.config.Scope == ByService {
		return serviceOpen
	}
	return endpointOpen
}

// outcome is what an attempt says about its endpoint, when its head has come or
// it has failed.
func (h *handler) outcome(a *middleware.Attempt, err error, took time.Duration) outcome {
	if cause := a.Err(); cause != nil { // it was canceled, whatever came of it
		err = cause
	}
	switch {
	case err != nil:
		return ofError(a, err)
	case h.settings.failure(a.Response.Status), h.failedCall(a):
		return failed
	case h.settings.config.SlowAfter > 0 && took > h.settings.config.SlowAfter:
		return slow
	}
	return success
}

// failedCall reports that a gRPC call was answered, without a body, with a status
// that stands for one of those that count. One that fails later, in its trailer,
// is known too late to speak for the time that its head took.
func (h *handler) failedCall(a *middleware.Attempt) bool {
	code, ok := a.GRPCStatus()
	return ok && code.Failed() && h.settings.failure(code.HTTP())
}

func ofError(a *middleware.Attempt, err error) outcome {
	switch {
	case errors.Is(err, middleware.ErrClientGone), errors.Is(err, middleware.ErrLost),
		errors.Is(err, middleware.ErrEnded), errors.Is(err, middleware.ErrDiscarded):
		return neutral // it was us, or the client, who gave up
	case errors.Is(err, middleware.ErrTryTimeout), errors.Is(err, middleware.ErrDeadline), errors.Is(err, middleware.ErrIdle):
		return failed // it did not answer in time
	}
	var reject *middleware.Reject
	if errors.As(err, &reject) {
		switch reject.Reason {
		case middleware.ReasonConnectFailed, middleware.ReasonAppUnavailable:
			return failed
		case middleware.ReasonClientGone, middleware.ReasonClientBody:
			return neutral
		}
		if a.Unsent() { // a refusal from further in, another breaker's for example
			return neutral
		}
	}
	return failed
}
