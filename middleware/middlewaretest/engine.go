// Package middlewaretest is the conformance suite of the middleware seam. Run
// holds an engine to what the middleware package promises; RunKind holds a
// kind of middleware to what every kind must do. Both take an Engine: Memory,
// which is here and needs no socket, or a real one.
//
// The cases see an engine as its users do: a client that speaks HTTP to it, the
// handlers behind it, and the middlewares in its chain. Nothing in them depends
// on how the engine moves bytes.
package middlewaretest

import (
	"net/http"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Engine is an engine under test.
type Engine interface {
	// Name is the name of the engine's subtests.
	Name() string
	// Start serves the setup until the test ends. The RoundTripper is a client
	// of it: every request that it is given goes there, whatever the host of
	// its URL, and that host is the request's authority. When the test ends,
	// nothing of the engine or the client is left running.
	Start(t testing.TB, s Setup) http.RoundTripper
}

// Setup is what an engine is to serve.
type Setup struct {
	Request []middleware.Middleware    // the request stage, outermost first
	Try     []middleware.TryMiddleware // the attempt stage, outermost first
	Policy  middleware.TryPolicy       // nil: one attempt

	// Backends are the endpoints of the one route that takes every request.
	// Attempt n of an exchange goes to endpoint n modulo their number. A nil
	// handler is an endpoint that refuses connections.
	Backends []http.Handler

	// Others are more routes, each with its endpoints, by the host that the
	// authority of a request has to have for it (port left out, lower case).
	// They run the same attempt stage and policy.
	Others map[string][]http.Handler
}
