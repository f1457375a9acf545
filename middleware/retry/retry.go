// Package retry is the middleware that tries a request again, on another
// endpoint, where that can do no harm.
//
// A request is tried again only when its method is safe (RFC 9110, section
// 9.2.1: GET, HEAD, OPTIONS, TRACE), or when it is certain that no byte of it
// has reached an app. Certain means: the connection was never made, or the
// attempt stage refused before one was asked for, or the other side said by its
// protocol that it has not handed the request on (HTTP/2: REFUSED_STREAM, or a
// GOAWAY with a lower stream id). A connection that breaks after the first byte
// was written is not certain, whatever had been read by then.
//
// A gRPC call is a POST, and so repeated only where it was not sent, until the
// configuration lists the statuses after which calls may be repeated: it is the
// word of whoever knows that the methods can be called twice.
//
// The policy has no state of its own and may be used by any number of requests
// at once. It never asks for two attempts beside each other. Which endpoint is
// next is the balancer's choice; it avoids those that were tried.
package retry

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is retry in configuration files.
var Kind = middleware.NewKind("retry", defaults, func(c Config, _ middleware.Env) (middleware.Parts, error) {
	p := New(c)
	return middleware.Parts{Request: p, Policy: p}, nil
})

// Policy says whether a request is tried again, and keeps the bodies that are
// needed for it.
type Policy struct {
	attempts int
	on       map[Failure]bool
	grpc     [middleware.GRPCCodes]bool
	replay   int64
	backoff  time.Duration
}

var (
	_ middleware.TryPolicy  = (*Policy)(nil)
	_ middleware.Middleware = (*Policy)(nil)
)

// New makes the policy of a valid configuration.
func New(c Config) *Policy {
	p := &Policy{attempts: c.Attempts, on: map[Failure]bool{}, replay: int64(c.Replay), backoff: c.Backoff}
	for _, f := range c.On {
		p.on[f] = true
	}
	for _, code := range c.GRPCStatuses {
		p.grpc[code] = true
	}
	return p
}

// Wrap makes the handler that has the request's body kept.
func (p *Policy) Wrap(next middleware.Handler) middleware.Handler {
	if p.attempts < 2 || p.replay == 0 {
		return next
	}
	return middleware.HandlerFunc(func(x *middleware.Exchange) error {
		// The beginning of a body that is known to be too long is of no use.
		if x.Request.ContentLength <= p.replay {
			x.Request.Body.KeepForReplay(int(p.replay))
		}
		return next.Serve(x)
	})
}

// Next decides after an attempt has ended.
func (p *Policy) Next(x *middleware.Exchange, attempts []*middleware.Attempt) (again bool, after time.Duration) {
	last := attempts[len(attempts)-1]
	if len(attempts) >= p.attempts || last.Running() {
		return false, 0
	}
	f := failureOf(last)
	switch {
	case x.GRPC() && p.repeated(last, f):
	case f == "" || !p.on[f] || !harmless(x, attempts):
		return false, 0
	}
	return true, p.pause(len(attempts))
}

// repeated reports whether the attempt at a gRPC call came to one of the listed
// statuses: by a response without a body, or by a failure for which the client
// would be told that status.
func (p *Policy) repeated(a *middleware.Attempt, f Failure) bool {
	code, ok := a.GRPCStatus()
	switch err := a.Err(); {
	case err == nil && !ok && a.Status() != http.StatusOK: // not gRPC
		code, ok = middleware.GRPCCodeOf(middleware.ReasonNone, a.Status()), true
	case err == nil:
	case f == "":
		return false
	default:
		code, ok = codeOf(err), true
	}
	return ok && code < middleware.GRPCCodes && p.grpc[code]
}

// codeOf is the status of a gRPC call whose attempt failed with err.
func codeOf(err error) middleware.GRPCCode {
	var reject *middleware.Reject
	if errors.As(err, &reject) {
		return middleware.GRPCCodeOf(reject.Reason, reject.Status)
	}
	return middleware.GRPCDeadlineExceeded // of the try: what else is a failure is a Reject
}

// harmless reports whether the request may be sent once more.
func harmless(x *middleware.Exchange, attempts []*middleware.Attempt) bool {
	if x.Request.Safe() {
		return true
	}
	for _, a := range attempts {
		if !a.Unsent() {
			return false
		}
	}
	return true
}

// failureOf is what happened to the attempt; empty for what no further attempt
// can mend, a response among it.
func failureOf(a *middleware.Attempt) Failure {
	err := a.Err()
	if err == nil {
		if code, ok := a.GRPCStatus(); ok {
			return ofGRPC(code)
		}
		return ofStatus(a.Status())
	}
	if errors.Is(err, middleware.ErrTryTimeout) {
		return Timeout
	}
	var reject *middleware.Reject
	if !errors.As(err, &reject) {
		return "" // client gone, deadline of the whole request, a defect
	}
	switch reject.Reason {
	case middleware.ReasonConnectFailed, middleware.ReasonAppUnavailable:
		return Connect
	case middleware.ReasonUpstreamReset:
		return Reset
	case middleware.ReasonTryTimeout:
		return Timeout
	case middleware.ReasonUpstreamInvalid, middleware.ReasonDeadline, middleware.ReasonClientGone, middleware.ReasonClientBody,
		middleware.ReasonPoolFull: // the limits are the service's, not this endpoint's
		return ""
	}
	return ofStatus(reject.Status)
}

func ofStatus(status int) Failure {
	switch status {
	case http.StatusServiceUnavailable:
		return Unavailable
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return Gateway
	}
	return ""
}

// ofGRPC sorts the status of a gRPC call's response: a sidecar on the other side
// answers with UNAVAILABLE what it would answer other requests with 503.
func ofGRPC(code middleware.GRPCCode) Failure {
	if code == middleware.GRPCUnavailable {
		return Unavailable
	}
	return ""
}

// pause is between half and one and a half times the back-off, so that what
// failed together does not come back together.
func (p *Policy) pause(made int) time.Duration {
	mean := min(p.backoff<<(made-1), maxPause)
	if mean <= 0 {
		return 0
	}
	return mean/2 + rand.N(mean)
}
