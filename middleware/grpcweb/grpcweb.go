// Package grpcweb is the middleware that lets browsers make gRPC calls: it
// translates gRPC-Web to gRPC and back
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
//
// The two differ in their content-type, in the encoding of bodies (base64 in
// gRPC-Web's text form), and in where the status of a call is: browsers show no
// trailers to scripts, so that they come as a last frame of the body. All is
// translated as it streams by; nothing is buffered but the rest of a group of
// base64.
//
// Further in, the request is a gRPC call, for the middlewares, for the app, and
// for local answers, which get gRPC-Web's form as they are made. Other requests
// pass as they are.
package grpcweb

import (
	"io"
	"net/http"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is grpcweb in configuration files.
var Kind = middleware.NewKind("grpcweb", func() Config { return Config{} }, func(c Config, _ middleware.Env) (middleware.Parts, error) {
	return middleware.Parts{Request: New(c)}, nil
})

// Translator is the middleware.
type Translator struct {
	origins origins
	slot    *middleware.Slot[call]
}

var _ middleware.Middleware = (*Translator)(nil)

// New makes the middleware of a valid configuration.
func New(c Config) *Translator {
	return &Translator{origins: newOrigins(c.AllowOrigins), slot: middleware.NewSlot[call]()}
}

// Wrap makes the handler.
func (t *Translator) Wrap(next middleware.Handler) middleware.Handler { return &handler{t, next} }

type handler struct {
	*Translator
	next middleware.Handler
}

var _ middleware.ReplyShaper = (*handler)(nil)

// call is what is kept of one call.
type call struct {
	mediaType
	x        *middleware.Exchange
	textBack bool   // the response is to be in the text form
	origin   []byte // that is allowed to read the response; nil: nothing to say
	in       textReader
	out      responseBody
}

// usualType is the room for a content-type that need not be allocated.
const usualType = 64

func (h *handler) Serve(x *middleware.Exchange) error {
	if h.origins.preflight(x) {
		return nil
	}
	r := &x.Request
	t, ok := parseMediaType(r.Header.Get("content-type"))
	if !ok || string(r.Method) != http.MethodPost {
		return h.next.Serve(x)
	}
	c := h.slot.In(x)
	c.x, c.mediaType = x, t
	c.textBack = wantsText(&r.Header, t)
	c.origin = h.origins.allowed(&r.Header)
	if t.text {
		r.Header.Del("content-length")
		r.ContentLength = -1
		r.Body.Wrap(func(src io.Reader) io.Reader {
			c.in.reset(src)
			return &c.in
		})
	}
	var value [usualType]byte
	r.Header.SetBytes("content-type", append(append(value[:0], typeGRPC...), t.suffix...))
	// Servers may refuse a call that does not ask for trailers.
	r.Header.Set("te", "trailers")
	x.ShapeReplies(h)
	x.BecomeGRPC()
	if err := h.next.Serve(x); err != nil {
		return err
	}
	if !x.Local() {
		h.respond(c, x.Response)
	}
	return nil
}

// respond translates the response of an endpoint. One that is not gRPC stays as
// it is: clients see that something else has answered.
func (h *handler) respond(c *call, r *middleware.Response) {
	h.origins.allow(&r.Header, c.origin)
	if !middleware.IsGRPC(&r.Header) {
		return
	}
	c.setType(&r.Header)
	if r.Body == nil { // the header has the status
		return
	}
	r.Header.Del("content-length")
	r.Header.Del("trailer") // none follows the body
	r.ContentLength = -1
	c.out.reset(c, r)
	r.Body = &c.out
}

// ShapeReply is middleware.ReplyShaper's: a local answer has its status in the
// header, which clients read where a response has no body.
func (h *handler) ShapeReply(x *middleware.Exchange) {
	c := h.slot.In(x)
	h.origins.allow(&x.Response.Header, c.origin)
	c.setType(&x.Response.Header)
}

// setType makes the content-type of gRPC that the response has one of gRPC-Web.
func (c *call) setType(h *middleware.Header) {
	suffix := suffixOf(h.Get("content-type"))
	if len(suffix) == 0 {
		suffix = c.suffix
	}
	var value [usualType]byte
	v := append(value[:0], typeWeb...)
	if c.textBack {
		v = append(v, typeText...)
	}
	h.SetBytes("content-type", append(v, suffix...))
}
