// Package requestid is the middleware that gives every request an id, the same
// on every hop, so that the log lines of one request can be found in all
// services that it went through.
//
// The handler has no state: it may be used by any number of requests at once.
// Where a trusted id came with the request it allocates nothing.
package requestid

import (
	"bytes"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is requestid in configuration files.
var Kind = middleware.NewKind("requestid", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	trust := e.Direction != middleware.Gateway
	if c.Trust != nil {
		trust = *c.Trust
	}
	return middleware.Parts{Request: New(trust)}, nil
}

// New makes the middleware. With trust the id that came with the request is
// taken where it is usable (see middleware.Exchange.RequestID).
func New(trust bool) middleware.Middleware {
	return middleware.Func(func(x *middleware.Exchange, next middleware.Handler) error {
		id := take(x, trust)
		mark(&x.Request.Header, id)
		if err := next.Serve(x); err != nil {
			return err // the engine's reply has the id
		}
		mark(&x.Response.Header, x.RequestID())
		return nil
	})
}

func take(x *middleware.Exchange, trust bool) []byte {
	if trust {
		return x.RequestID()
	}
	return x.NewRequestID()
}

// mark sets the field unless it has the value already. Without an id there is
// no field: half a trace is better than one that leads astray.
func mark(h *middleware.Header, id []byte) {
	switch {
	case len(id) == 0:
		h.Del(middleware.HeaderRequestID)
	case !bytes.Equal(h.Get(middleware.HeaderRequestID), id):
		h.SetBytes(middleware.HeaderRequestID, id)
	}
}
