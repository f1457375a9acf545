// Package middleware is the seam between the engines, which move HTTP, and
// the code that has an opinion about it.
//
// An engine fills one Exchange per request, finds the route, and calls the
// route's chain of Handlers (the request stage). The chain ends in the Router,
// which makes one or more Attempts: for each it picks an endpoint and calls
// the chain of TryHandlers (the attempt stage), which ends in the endpoint's
// Transport. The response head comes back through both chains, not yet sent;
// then the engine sends it and streams the body. Done and TryDone tell each
// handler that was entered how it ended, once, in reverse order.
//
// Concurrency: an Exchange belongs to one goroutine at a time. Only its Context
// and Cancel may be used from others. Past the Router the request body is read
// by the transport's pump alone. What a handler keeps per request it keeps in
// a Slot; what it keeps over a reload of the configuration, in a State.
package middleware

import "time"

// Handler is one step of the request stage. Serve calls the next step at most
// once and returns when the response head is known and not yet sent, its body
// unread; or it answers itself by Exchange.Reply; or it returns an error, which
// the engine turns into a local reply (see Exchange.Fail).
type Handler interface {
	Serve(x *Exchange) error
}

// Middleware makes a Handler around the next one.
type Middleware interface {
	Wrap(next Handler) Handler
}

// Doner is implemented by a Handler that wants to know how the exchange ended.
// Done runs once for each time that the handler's Serve was entered, after the
// last byte of the response was sent, or after the exchange was given up; in
// reverse order of entry. Exchange.Err says how it ended.
type Doner interface {
	Done(x *Exchange)
}

// TryHandler is one step of the attempt stage; it is called once per try. Try
// returns when the response head is in Attempt.Response, its body unread; or a
// *Reject; or another error of the try. It never replies: only the request
// stage and the router do.
type TryHandler interface {
	Try(a *Attempt) error
}

// TryMiddleware makes a TryHandler around the next one.
type TryMiddleware interface {
	WrapTry(next TryHandler) TryHandler
}

// TryDoner is Doner for the attempt stage: TryDone runs once for each time
// that the handler's Try was entered, at the end of the response body, when the
// attempt is discarded, or when it lost against another one. Attempt.Err and
// Attempt.Committed say how it ended. A canceled attempt's TryDone may run on
// another goroutine than its Try, never at the same time.
type TryDoner interface {
	TryDone(a *Attempt)
}

// TryPolicy decides about further tries. The router loops, the policy only
// answers, so that several attempts may be alive at once.
//
// Next is asked at two moments. When the last of attempts is about to run
// (Attempt.Running): shall another one be started beside it, unless it has
// ended within after? That is hedging; a policy that only retries answers no.
// When the last of attempts has ended and none is running: shall another one be
// made, after a pause? The router adds its own conditions: the request's body
// can still be sent whole, the exchange is not canceled, and an endpoint is
// found.
//
// The slice is the router's; it is valid during the call.
type TryPolicy interface {
	Next(x *Exchange, attempts []*Attempt) (again bool, after time.Duration)
}

// Parts is what a kind of middleware consists of; at least one is set.
type Parts struct {
	Request Middleware
	Try     TryMiddleware
	Policy  TryPolicy
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(x *Exchange) error

// Serve calls f.
func (f HandlerFunc) Serve(x *Exchange) error { return f(x) }

// TryHandlerFunc is a function as a TryHandler.
type TryHandlerFunc func(a *Attempt) error

// Try calls f.
func (f TryHandlerFunc) Try(a *Attempt) error { return f(a) }

// Func is a function as a Middleware, for one without state of its own.
type Func func(x *Exchange, next Handler) error

// Wrap makes the Handler.
func (f Func) Wrap(next Handler) Handler {
	return HandlerFunc(func(x *Exchange) error { return f(x, next) })
}

// TryFunc is a function as a TryMiddleware, for one without state of its own.
type TryFunc func(a *Attempt, next TryHandler) error

// WrapTry makes the TryHandler.
func (f TryFunc) WrapTry(next TryHandler) TryHandler {
	return TryHandlerFunc(func(a *Attempt) error { return f(a, next) })
}
