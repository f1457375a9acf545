package upstream

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// outcome is what an attempt says of its endpoint.
type outcome uint8

const (
	outcomeNone    outcome = iota // nothing: we, or the client, gave it up
	outcomeOK                     // a response below 500
	outcome5xx                    // one of 500 to 599 but 502, 503 and 504
	outcomeGateway                // 502, 503, 504
	outcomeLocal                  // no response
)

// observed is a host as attempts reach it: what they come to is fed to the
// outlier detection. That is known when the head of the response is there, but
// of gRPC calls, whose status most often comes with the trailer.
type observed struct{ *host }

var _ middleware.TryDoner = observed{}

// Try is middleware.TryHandler's.
func (o observed) Try(a *middleware.Attempt) error {
	h := o.host
	err := h.Try(a)
	if err != nil { // variables here, so that only failures pay for them
		var refused refusal
		if errors.As(err, &refused) {
			return refused.Reject // a limit of ours: it says nothing of the endpoint
		}
		if left := (leftQueue{}); errors.As(err, &left) {
			return left.error
		}
	}
	rules := h.rules.Load()
	if rules.Off || err == nil && statusFollows(a) {
		return err
	}
	h.record(rules, outcomeOf(a, err))
	return err
}

// TryDone is middleware.TryDoner's: it is called for gRPC calls alone.
func (o observed) TryDone(a *middleware.Attempt) {
	h := o.host
	rules := h.rules.Load()
	if rules.Off || a.Status() == 0 || !statusFollows(a) {
		return // Try has seen to it
	}
	err := a.Err()
	if errors.Is(err, middleware.ErrDeadline) {
		return // a stream that was still going well, perhaps
	}
	h.record(rules, outcomeOf(a, err))
}

// statusFollows reports whether the response is one to a gRPC call whose status
// comes with the trailer.
func statusFollows(a *middleware.Attempt) bool {
	return a.Response.Status == http.StatusOK && a.Exchange().GRPC() && !a.Response.Header.Has(middleware.HeaderGRPCStatus)
}

func (h *host) record(rules *Outlier, o outcome) {
	if cause := h.outlier.record(rules, o); cause != causeNone {
		h.eject(h, cause)
	}
}

// ofGRPC sorts the status of a gRPC call.
func ofGRPC(code middleware.GRPCCode) outcome {
	if !code.Failed() {
		return outcomeOK
	}
	return ofStatus(code.HTTP())
}

func ofStatus(status int) outcome {
	switch {
	case status < http.StatusInternalServerError:
		return outcomeOK
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return outcomeGateway
	}
	return outcome5xx
}

// outcomeOf sorts an attempt when its head has come or it has failed.
func outcomeOf(a *middleware.Attempt, err error) outcome {
	if err == nil {
		if code, ok := a.GRPCStatus(); ok {
			return ofGRPC(code)
		}
		return ofStatus(a.Response.Status)
	}
	if cause := a.Err(); cause != nil {
		err = cause
	}
	for _, given := range []error{middleware.ErrClientGone, middleware.ErrLost, middleware.ErrEnded, middleware.ErrDiscarded} {
		if errors.Is(err, given) {
			return outcomeNone
		}
	}
	var reject *middleware.Reject
	if errors.As(err, &reject) {
		switch reject.Reason {
		case middleware.ReasonClientGone, middleware.ReasonClientBody, middleware.ReasonLoop:
			return outcomeNone // the client, or the name
		}
	}
	return outcomeLocal
}

// ejectCause is why an endpoint was ejected.
type ejectCause uint8

const (
	causeNone ejectCause = iota
	causeConsecutive5xx
	causeConsecutiveGateway
	causeConsecutiveLocal
	causeSuccessRate
	causeLocalSuccessRate
	causeFailurePercent
	causeLocalFailurePercent
	causes
)

// causeNames are the causes as metrics and dumps call them: the keys of the
// configuration, where there is one.
var causeNames = [causes]string{
	"", "consecutive5xx", "consecutiveGatewayErrors", "consecutiveLocalFailures",
	"successRate", "localSuccessRate", "failurePercent", "localFailurePercent",
}

// outlierCounts is what the attempts at one endpoint came to. It is written by
// many goroutines at once without a lock: what is lost of a count between two
// of them is made up for by the next attempt.
type outlierCounts struct {
	consecutive5xx     atomic.Int32
	consecutiveGateway atomic.Int32
	consecutiveLocal   atomic.Int32

	// Since the last interval; only where rates are looked at. Local failures
	// count for themselves where they are split off.
	external tally
	local    tally
}

type tally struct{ all, failed atomic.Uint64 }

func (t *tally) add(failed bool) {
	t.all.Add(1)
	if failed {
		t.failed.Add(1)
	}
}

// take is what was counted, which begins anew.
func (t *tally) take() rate { return rate{t.all.Swap(0), t.failed.Swap(0)} }

// record counts an attempt, and says why it is the one that was too much.
func (c *outlierCounts) record(r *Outlier, o outcome) ejectCause {
	if o == outcomeNone {
		return causeNone
	}
	split := r.SplitLocalFailures
	if r.rates() {
		if split {
			c.local.add(o == outcomeLocal)
		}
		if !split || o != outcomeLocal {
			c.external.add(o != outcomeOK)
		}
	}
	if split {
		if o == outcomeLocal {
			if reached(&c.consecutiveLocal, r.ConsecutiveLocalFailures) {
				return causeConsecutiveLocal
			}
			return causeNone
		}
		clearCount(&c.consecutiveLocal)
	}
	if o == outcomeOK {
		clearCount(&c.consecutive5xx)
		clearCount(&c.consecutiveGateway)
		return causeNone
	}
	cause := causeNone
	if o == outcome5xx {
		clearCount(&c.consecutiveGateway)
	} else if reached(&c.consecutiveGateway, r.ConsecutiveGatewayErrors) {
		cause = causeConsecutiveGateway
	}
	if reached(&c.consecutive5xx, r.Consecutive5xx) && cause == causeNone {
		cause = causeConsecutive5xx
	}
	return cause
}

// clearCount writes only where there is something: the line of memory stays with
// all who read it.
func clearCount(n *atomic.Int32) {
	if n.Load() != 0 {
		n.Store(0)
	}
}

// reached counts, and reports whether the number has been reached; then it
// begins anew.
func reached(n *atomic.Int32, limit int) bool {
	if limit == 0 || n.Add(1) < int32(limit) { //nolint:gosec // bounded by Validate
		return false
	}
	n.Store(0)
	return true
}

// reset forgets everything.
func (c *outlierCounts) reset() {
	c.consecutive5xx.Store(0)
	c.consecutiveGateway.Store(0)
	c.consecutiveLocal.Store(0)
	c.external.take()
	c.local.take()
}
