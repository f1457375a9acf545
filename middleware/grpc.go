package middleware

import (
	"bytes"
	"net/http"
	"time"
)

// The fields of gRPC over HTTP/2 that the proxy reads or writes itself
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
const (
	HeaderGRPCStatus  = "grpc-status"
	HeaderGRPCMessage = "grpc-message"
	HeaderGRPCTimeout = "grpc-timeout"
)

// HeaderReason is the field of a local answer to a gRPC request that carries its
// Reason, which stands in the body of other local answers.
const HeaderReason = "x-outrigger-reason"

const (
	contentTypeGRPC = "application/grpc"
	// maxGRPCMessage bounds what a local answer says in grpc-message, in bytes
	// before the encoding: it may have names in it that a client has made up.
	maxGRPCMessage = 1024
)

// IsGRPC reports whether the content-type is one of gRPC: application/grpc, with
// or without a suffix (+proto) or parameters. gRPC-Web is another protocol.
func IsGRPC(h *Header) bool {
	t := h.Get("content-type")
	if len(t) < len(contentTypeGRPC) || !EqualFold(t[:len(contentTypeGRPC)], contentTypeGRPC) {
		return false
	}
	return len(t) == len(contentTypeGRPC) || t[len(contentTypeGRPC)] == '+' || t[len(contentTypeGRPC)] == ';'
}

// grpcState is what an exchange keeps about gRPC.
type grpcState struct {
	known   bool // is was found out
	is      bool
	refused *Reject // what the request is answered with instead of being sent

	told bool // the status is code, whatever header and trailer say
	code GRPCCode
}

// GRPC reports whether the request is a gRPC call: a POST with a content-type of
// gRPC. What was found out first counts for the whole exchange.
func (x *Exchange) GRPC() bool {
	g := &x.grpc
	if !g.known {
		g.known = true
		g.is = string(x.Request.Method) == http.MethodPost && IsGRPC(&x.Request.Header)
	}
	return g.is
}

// BecomeGRPC has the exchange looked at anew, for a middleware that has made a
// gRPC call of the request: its grpc-timeout is honoured, local answers have
// gRPC's form. It is to be called before the router.
func (x *Exchange) BecomeGRPC() {
	x.grpc = grpcState{}
	x.beginGRPC()
}

// GRPCMethod is the service and the method that a gRPC call asks for, from its
// path /package.Service/Method, both empty where the path is none of these. The
// bytes are the request's.
func (x *Exchange) GRPCMethod() (service, method []byte) {
	path := x.Request.Path()
	i := bytes.LastIndexByte(path, '/')
	if i < 2 || i == len(path)-1 || path[0] != '/' {
		return nil, nil
	}
	return path[1:i], path[i+1:]
}

// GRPCStatus is how a gRPC call has ended, and false where that cannot be said:
// the request is none, or its response was whole and had no status. The status
// is that of the trailer, or of a response without a body (trailers-only); else
// that which clients make of a response that broke off, or that is not gRPC. It
// is for Done.
func (x *Exchange) GRPCStatus() (code GRPCCode, ok bool) {
	if !x.GRPC() {
		return 0, false
	}
	if x.grpc.told {
		return x.grpc.code, true
	}
	if code, ok = GRPCStatusOf(x.Response); ok {
		return code, true
	}
	switch {
	case x.reason != ReasonNone:
		return GRPCCodeOf(x.reason, x.Response.Status), true
	case x.Response.Status != http.StatusOK && x.Response.Status != 0:
		return grpcOfHTTP(x.Response.Status), true
	}
	return 0, false
}

// SetGRPCStatus says how the call has ended, for a middleware that takes the
// status out of the response on its way to the client.
func (x *Exchange) SetGRPCStatus(code GRPCCode) { x.grpc.told, x.grpc.code = true, code }

// GRPCStatus is the status that the endpoint has answered a gRPC call with;
// false where there is none yet, or none at all. A response without a body has
// it in its header, as soon as Try has returned; another one in its trailer,
// which is complete in TryDone.
func (a *Attempt) GRPCStatus() (code GRPCCode, ok bool) {
	x := a.x
	if !x.GRPC() {
		return 0, false
	}
	switch {
	case a.Response.Status == 0:
		return 0, false
	case a.committed && a.x.grpc.told:
		return a.x.grpc.code, true
	}
	return GRPCStatusOf(&a.Response)
}

// GRPCStatusOf is the status that a response to a gRPC call carries, in its
// trailer or its header; false where there is none.
func GRPCStatusOf(r *Response) (code GRPCCode, ok bool) {
	v := r.Trailer.Get(HeaderGRPCStatus)
	if v == nil {
		v = r.Header.Get(HeaderGRPCStatus)
	}
	if v == nil {
		return 0, false
	}
	return parseGRPCCode(v), true
}

// beginGRPC takes in what a gRPC call says about itself. A call that is to be
// refused for it is refused by the router, so that the chain sees it.
func (x *Exchange) beginGRPC() {
	if !x.GRPC() {
		return
	}
	v := x.Request.Header.Get(HeaderGRPCTimeout)
	if v == nil {
		return
	}
	d, ok := ParseGRPCTimeout(v)
	if !ok {
		x.grpc.refused = malformedGRPCTimeout
		return
	}
	start := x.Start
	if start.IsZero() {
		start = time.Now()
	}
	x.SetDeadline(start.Add(d))
}

var malformedGRPCTimeout = &Reject{
	Status: http.StatusBadRequest, Reason: ReasonBadRequest,
	Message: "grpc-timeout is malformed: expected one to eight digits and one of the units H, M, S, m, u, n",
}

// replyGRPC is a local answer to a gRPC call: a response without a body, whose
// header is its trailer ("trailers-only").
func (x *Exchange) replyGRPC(status int, reason Reason, message string) {
	l := &x.local
	r := &l.response
	code := GRPCCodeOf(reason, status)
	// 499 is never sent: logs and metrics know it as that of a client that left.
	if r.Status = http.StatusOK; status == StatusClientGone {
		r.Status = status
	}
	r.Header.Add("content-type", contentTypeGRPC)
	l.text = append(l.text[:0], code.digits()...)
	r.Header.AddBytes(HeaderGRPCStatus, l.text)
	l.text = AppendGRPCMessage(l.text[:0], cut(message, maxGRPCMessage))
	r.Header.AddBytes(HeaderGRPCMessage, l.text)
	r.Header.AddBytes(HeaderRequestID, x.RequestID())
	if reason != ReasonNone {
		r.Header.Add(HeaderReason, string(reason))
	}
}
