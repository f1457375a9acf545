// Package builtin is the list of the kinds of middleware that come with
// Outrigger.
package builtin

import (
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/accesslog"
	"github.com/outrigger-mesh/outrigger/middleware/breaker"
	"github.com/outrigger-mesh/outrigger/middleware/grpcweb"
	"github.com/outrigger-mesh/outrigger/middleware/metrics"
	"github.com/outrigger-mesh/outrigger/middleware/ratelimit"
	"github.com/outrigger-mesh/outrigger/middleware/requestid"
	"github.com/outrigger-mesh/outrigger/middleware/retry"
	"github.com/outrigger-mesh/outrigger/middleware/timeout"
	"github.com/outrigger-mesh/outrigger/middleware/tracing"
)

// Kinds are the built-in kinds, in the order of the documentation. A program
// with middleware of its own appends to it.
func Kinds() []middleware.Kind {
	return []middleware.Kind{
		accesslog.Kind,
		breaker.Kind,
		grpcweb.Kind,
		metrics.Kind,
		ratelimit.Kind,
		requestid.Kind,
		retry.Kind,
		timeout.Kind,
		tracing.Kind,
	}
}
