package middleware

import "errors"

// Reason says why an exchange was answered locally or broke off: one of a fixed
// list, so that it can be a label of a metric. It stands in the local reply, in
// the access log and in the metrics. A kind of middleware declares its own
// beside its code.
type Reason string

// The engines' and the router's own reasons.
const (
	ReasonNone            Reason = ""
	ReasonBadRequest      Reason = "bad_request"       // malformed; the metric of the engine says how
	ReasonHeadTooLarge    Reason = "head_too_large"    // more than the limit of bytes or fields
	ReasonHeadTimeout     Reason = "head_timeout"      // the client was too slow to send its head
	ReasonUnknownHost     Reason = "unknown_host"      // no service of that name
	ReasonNoRoute         Reason = "no_route"          // the service has no route for this request
	ReasonRouteStatus     Reason = "route_status"      // the route itself says what to answer
	ReasonNoEndpoint      Reason = "no_endpoint"       // the service has no endpoint to send to
	ReasonPoolFull        Reason = "pool_full"         // the limits of the service's connections are reached
	ReasonConnectFailed   Reason = "connect_failed"    // no connection to the endpoint; nothing was sent
	ReasonUpstreamReset   Reason = "upstream_reset"    // the endpoint broke the connection off
	ReasonUpstreamInvalid Reason = "upstream_invalid"  // the endpoint's answer is not HTTP
	ReasonDeadline        Reason = "deadline"          // the request's time is over
	ReasonTryTimeout      Reason = "try_timeout"       // a try's time is over
	ReasonIdleTimeout     Reason = "idle_timeout"      // no byte moved for too long
	ReasonClientGone      Reason = "client_gone"       // the client closed before its answer was complete
	ReasonClientBody      Reason = "client_body"       // the client's body is malformed or broke off
	ReasonUpgradeRefused  Reason = "upgrade_refused"   // that protocol is not forwarded
	ReasonMethodRefused   Reason = "method_refused"    // that method is not forwarded
	ReasonLastHop         Reason = "last_hop"          // Max-Forwards is 0: the request goes no further
	ReasonDraining        Reason = "draining"          // this proxy is going away
	ReasonOverload        Reason = "overload"          // a limit of this proxy is reached
	ReasonLoop            Reason = "loop"              // the request has come through here before
	ReasonInternal        Reason = "internal"          // a defect: the log has more
	ReasonDiscovery       Reason = "discovery_timeout" // the service is not known yet, and the control plane did not say in time
	ReasonAppUnavailable  Reason = "app_unavailable"   // the app beside this sidecar cannot be reached
)

// Causes of cancellation. They are compared with errors.Is.
var (
	ErrClientGone = errors.New("client closed the connection")
	ErrDeadline   = errors.New("deadline of the request exceeded")
	ErrTryTimeout = errors.New("deadline of the try exceeded")
	ErrIdle       = errors.New("no byte moved for too long")
	ErrLost       = errors.New("another attempt was faster")
	ErrDiscarded  = errors.New("response not wanted")
	ErrEnded      = errors.New("exchange has ended")
)

// Reject is the refusal of a request or a try, with what the client is told
// where nothing better comes.
type Reject struct {
	Status  int
	Reason  Reason
	Message string // for the client: what is wrong and what to do; empty: the status's own text
	Err     error  // for the log
}

// Error says reason and cause.
func (r *Reject) Error() string {
	s := string(r.Reason)
	if r.Message != "" {
		s += ": " + r.Message
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap is the cause.
func (r *Reject) Unwrap() error { return r.Err }
