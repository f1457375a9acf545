package middleware

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// HeaderRequestID is the field that carries a request's id over hops, and
// MaxRequestID the length in bytes up to which an id from outside is taken.
const (
	HeaderRequestID = "x-request-id"
	MaxRequestID    = 128
)

// StatusClientGone is the status of an exchange whose client went away before
// anything could be sent: for logs and metrics, it is never on the wire. (The
// number is nginx's.)
const StatusClientGone = 499

// localReply is the memory of an answer that the proxy gives itself.
type localReply struct {
	response Response
	status   int // of HTTP, also where the answer is one to a gRPC call
	text     []byte
	reader   bytes.Reader
}

func (l *localReply) Read(p []byte) (int, error) { return l.reader.Read(p) }

// Buffered lets engines send head and body at once.
func (l *localReply) Buffered() int { return l.reader.Len() }

// Close does nothing: the memory is the exchange's.
func (l *localReply) Close() error { return nil }

func (l *localReply) reset() {
	l.response.reset()
	l.status = 0
	l.text = l.text[:0]
}

// Reply answers the request here, instead of what came or would have come from
// an endpoint: with a short JSON body that has the members error, reason and
// request_id; a gRPC call with a response without a body that has the status
// 200, and says the rest in grpc-status, grpc-message, x-outrigger-reason and
// x-request-id. Header fields can be added to Response afterwards. It returns
// nil so that a handler can end with it.
func (x *Exchange) Reply(status int, reason Reason) error {
	return x.ReplyMessage(status, reason, "")
}

// ReplyMessage is Reply with a sentence for the client: what is wrong, and what
// to do about it.
func (x *Exchange) ReplyMessage(status int, reason Reason, message string) error {
	if x.served {
		return errors.New("reply: the response was handed to the engine before")
	}
	if x.Response.Body != nil && x.Response != &x.local.response {
		_ = x.Response.Body.Close()
	}
	x.endAttempts((*Attempt).discard, ErrDiscarded)
	if message == "" {
		message = http.StatusText(status)
	}
	x.local.reset()
	x.local.status = status
	x.reason = reason
	r := &x.local.response
	x.Response = r
	x.grpc.told = false // it was another response's
	if x.GRPC() {
		x.replyGRPC(status, reason, message)
	} else {
		x.replyJSON(status, reason, message)
	}
	for _, s := range x.shapers {
		s.ShapeReply(x)
	}
	return nil
}

// ReplyShaper changes local replies, in x.Response, after they were made.
type ReplyShaper interface {
	ShapeReply(x *Exchange)
}

// ShapeReplies has every local reply of the exchange that is made from now on
// changed by s, wherever it is made: for a middleware that has translated the
// request, and has to translate what is answered.
func (x *Exchange) ShapeReplies(s ReplyShaper) { x.shapers = append(x.shapers, s) }

func (x *Exchange) replyJSON(status int, reason Reason, message string) {
	r := x.Response
	r.Status = status
	t := x.local.text
	t = append(t, `{"error":`...)
	t = appendJSON(t, message)
	t = append(t, `,"reason":`...)
	t = appendJSON(t, string(reason))
	t = append(t, `,"request_id":`...)
	t = appendJSON(t, string(x.RequestID()))
	t = append(t, '}', '\n')
	x.local.text = t
	x.local.reader.Reset(t)
	r.Body = &x.local
	r.ContentLength = int64(len(t))
	r.Header.Add("content-type", "application/json")
	r.Header.Add("content-length", strconv.Itoa(len(t)))
	r.Header.Add(HeaderRequestID, string(x.RequestID()))
}

// Local reports whether the response is a local reply.
func (x *Exchange) Local() bool { return x.Response == &x.local.response }

// LocalStatus is the HTTP status of a local reply as Reply was given it. It
// differs from the response's where that is one to a gRPC call, which always has
// 200. It is 0 where the response is none of ours.
func (x *Exchange) LocalStatus() int {
	if !x.Local() {
		return 0
	}
	return x.local.status
}

// Reason is why the exchange was answered locally, or broke off.
func (x *Exchange) Reason() Reason { return x.reason }

// SetReason says why the response breaks off after its head was sent. Engines
// call it before End.
func (x *Exchange) SetReason(r Reason) { x.reason = r }

// RequestID is the request's id: its x-request-id where that is usable, else
// one that is made when first asked for. The bytes belong to the exchange.
func (x *Exchange) RequestID() []byte {
	if len(x.requestID) > 0 {
		return x.requestID
	}
	if id := x.Request.Header.Get(HeaderRequestID); usableID(id) {
		x.requestID = append(x.requestID[:0], id...)
		return x.requestID
	}
	return x.NewRequestID()
}

// NewRequestID gives the request a fresh random id (UUID version 7, RFC 9562),
// whatever it said itself.
func (x *Exchange) NewRequestID() []byte {
	x.requestID = appendUUID(x.requestID[:0], time.Now())
	return x.requestID
}

// usableID accepts visible ASCII without quotes and backslashes: what can stand
// in a log line as it is.
func usableID(id []byte) bool {
	for _, c := range id {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= MaxRequestID
}

// Fail answers with what fits the error: a *Reject with what it says, the end
// of a time limit with 504, anything else with 500 and only the log knows more.
// When the client is gone it returns false: nothing can be sent.
func (x *Exchange) Fail(err error) bool {
	x.served = false
	defer func() { x.served = true }()
	if cause := x.Cause(); cause != nil {
		x.canceled = true
		err = cause
	}
	var reject *Reject
	switch {
	case errors.Is(err, ErrClientGone):
		_ = x.ReplyMessage(StatusClientGone, ReasonClientGone, "client closed the request")
		return false
	case errors.As(err, &reject):
		_ = x.ReplyMessage(reject.Status, reject.Reason, reject.Message)
	case errors.Is(err, ErrDeadline):
		_ = x.ReplyMessage(http.StatusGatewayTimeout, ReasonDeadline, "the time allowed for this request is over")
	case errors.Is(err, ErrTryTimeout):
		_ = x.ReplyMessage(http.StatusGatewayTimeout, ReasonTryTimeout, "the service did not answer in time")
	case errors.Is(err, ErrIdle):
		_ = x.ReplyMessage(http.StatusGatewayTimeout, ReasonIdleTimeout, "no byte moved for too long")
	default:
		x.Logger.Error("request failed", "error", err, "request_id", string(x.RequestID()))
		_ = x.Reply(http.StatusInternalServerError, ReasonInternal)
	}
	return true
}

// appendJSON appends s as a JSON string (RFC 8259, section 7).
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}
