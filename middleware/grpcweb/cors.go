package grpcweb

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ReasonPreflight is why a browser's question was answered here.
const ReasonPreflight middleware.Reason = "cors_preflight"

// Fields of CORS (https://fetch.spec.whatwg.org/#http-cors-protocol).
const (
	fieldOrigin  = "origin"
	allowOrigin  = "access-control-allow-origin"
	askedMethod  = "access-control-request-method"
	askedHeaders = "access-control-request-headers"

	// preflightAge is for how long a browser may keep the answer, in seconds.
	preflightAge = "7200"
	// exposed is what scripts may read of a response's header: where a call has
	// no response body, it has the status.
	exposed = middleware.HeaderGRPCStatus + "," + middleware.HeaderGRPCMessage + ",grpc-status-details-bin," +
		middleware.HeaderRequestID + "," + middleware.HeaderReason
)

// origins are those whose pages may make calls.
type origins struct {
	any   bool
	known []string
}

func newOrigins(allowed []string) origins {
	return origins{any: slices.Contains(allowed, anyOrigin), known: allowed}
}

func (o *origins) off() bool { return len(o.known) == 0 }

// allowed is the request's origin where its page may read the response.
func (o *origins) allowed(h *middleware.Header) []byte {
	if o.off() {
		return nil
	}
	origin := h.Get(fieldOrigin)
	if o.any || slices.Contains(o.known, string(origin)) {
		return origin
	}
	return nil
}

// allow says in a response's header that the origin may read it.
func (o *origins) allow(h *middleware.Header, origin []byte) {
	if o.off() {
		return
	}
	if !o.any {
		h.Add("vary", "Origin")
	}
	if origin == nil {
		return
	}
	if o.any {
		h.Set(allowOrigin, anyOrigin)
	} else {
		h.SetBytes(allowOrigin, origin)
	}
	h.Set("access-control-expose-headers", exposed)
}

// preflight answers a browser that asks whether a page may make a call. Other
// questions are the app's to answer.
func (o *origins) preflight(x *middleware.Exchange) bool {
	r := &x.Request
	if string(r.Method) != http.MethodOptions || string(r.Header.Get(askedMethod)) != http.MethodPost {
		return false
	}
	origin := o.allowed(&r.Header)
	if origin == nil || !asksForCall(r.Header.Get(askedHeaders)) {
		return false
	}
	_ = x.Reply(http.StatusNoContent, ReasonPreflight)
	res := x.Response
	res.Header.Del("content-type")
	res.Header.Del("content-length")
	res.Body, res.ContentLength = nil, 0
	o.allow(&res.Header, origin)
	res.Header.Set("access-control-allow-methods", http.MethodPost)
	res.Header.SetBytes("access-control-allow-headers", r.Header.Get(askedHeaders))
	res.Header.Set("access-control-max-age", preflightAge)
	return true
}

// asksForCall reports whether the fields that a page wants to send are those of a
// call of gRPC-Web: a content-type that is not one of forms has to be asked for.
func asksForCall(fields []byte) bool {
	for name := range bytes.SplitSeq(fields, []byte{','}) {
		name = bytes.TrimSpace(name)
		if middleware.EqualFold(name, "x-grpc-web") || middleware.EqualFold(name, "content-type") {
			return true
		}
	}
	return false
}
