package metrics

import (
	"errors"
	"net/http"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// methods are the values of the label method. The first stands for all others:
// a client can make up as many as it likes.
var methods = [...]string{
	"OTHER", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

func methodIndex(method []byte) int {
	for i := 1; i < len(methods); i++ {
		if string(method) == methods[i] {
			return i
		}
	}
	return 0
}

// The results of an attempt, as indexes of results.
const (
	resultOK = iota
	resultServerError
	resultConnectFailed
	resultReset
	resultTimeout
	resultCanceled
	resultLost
	resultRejected
	resultFailed
)

// results are the values of the label result.
var results = [...]string{
	resultOK:            "ok",             // a response with a status below 500, or one of gRPC that does not speak against the endpoint
	resultServerError:   "server_error",   // a response with another one
	resultConnectFailed: "connect_failed", // no connection
	resultReset:         "reset",          // the connection broke, before or after the head
	resultTimeout:       "timeout",        // of the try, of the request, or idle
	resultCanceled:      "canceled",       // the client left, or the chain gave the request up
	resultLost:          "lost",           // another attempt was faster
	resultRejected:      "rejected",       // by the attempt stage; nothing was sent
	resultFailed:        "failed",         // anything else
}

func resultOf(a *middleware.Attempt) int {
	err := a.Err()
	if err == nil || errors.Is(err, middleware.ErrDiscarded) {
		if code, ok := a.GRPCStatus(); ok && code.Failed() {
			return resultServerError
		}
		return resultOfStatus(a.Status())
	}
	switch {
	case errors.Is(err, middleware.ErrLost):
		return resultLost
	case errors.Is(err, middleware.ErrClientGone), errors.Is(err, middleware.ErrEnded):
		return resultCanceled
	case errors.Is(err, middleware.ErrTryTimeout), errors.Is(err, middleware.ErrDeadline), errors.Is(err, middleware.ErrIdle):
		return resultTimeout
	}
	var reject *middleware.Reject
	if errors.As(err, &reject) {
		switch reject.Reason {
		case middleware.ReasonConnectFailed, middleware.ReasonAppUnavailable:
			return resultConnectFailed
		case middleware.ReasonUpstreamReset:
			return resultReset
		case middleware.ReasonTryTimeout, middleware.ReasonDeadline, middleware.ReasonIdleTimeout:
			return resultTimeout
		case middleware.ReasonClientGone, middleware.ReasonClientBody:
			return resultCanceled
		}
		if a.Unsent() {
			return resultRejected
		}
		return resultFailed
	}
	if a.Committed() { // the body broke off
		return resultReset
	}
	return resultFailed
}

func resultOfStatus(status int) int {
	switch {
	case status >= 500:
		return resultServerError
	case status >= 100:
		return resultOK
	}
	return resultFailed
}
