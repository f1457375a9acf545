package middleware

// Chain makes one Handler of the middlewares, the first outermost, around the
// end. Handlers that are Doners are told when the exchange ends.
func Chain(end Handler, ms ...Middleware) Handler {
	h := end
	for i := len(ms) - 1; i >= 0; i-- {
		h = ms[i].Wrap(h)
		if d, ok := h.(Doner); ok {
			h = &entered{h, d}
		}
	}
	return h
}

// entered takes down that its handler was entered, so that it is told the end.
type entered struct {
	handler Handler
	doner   Doner
}

func (e *entered) Serve(x *Exchange) error {
	x.done = append(x.done, e.doner)
	return e.handler.Serve(x)
}

// TryChain is Chain for the attempt stage.
func TryChain(end TryHandler, ms ...TryMiddleware) TryHandler {
	h := end
	for i := len(ms) - 1; i >= 0; i-- {
		h = ms[i].WrapTry(h)
		if d, ok := h.(TryDoner); ok {
			h = &tryEntered{h, d}
		}
	}
	return h
}

type tryEntered struct {
	handler TryHandler
	doner   TryDoner
}

func (e *tryEntered) Try(a *Attempt) error {
	a.done = append(a.done, e.doner)
	return e.handler.Try(a)
}

// Transport is the end of every attempt chain: the transport of the endpoint
// that was picked. One that is a TryDoner is told the end of gRPC calls, whose
// status comes with the trailer; all that there is to know of other requests
// is known when Try returns.
var Transport TryHandler = TryHandlerFunc(func(a *Attempt) error {
	if a.x.GRPC() {
		if d, ok := a.Endpoint.Transport.(TryDoner); ok {
			a.done = append(a.done, d)
		}
	}
	return a.Endpoint.Transport.Try(a)
})
