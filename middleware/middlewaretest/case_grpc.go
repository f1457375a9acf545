package middlewaretest

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// grpcCall makes a gRPC call with an empty message.
func grpcCall(t testing.TB, fields ...string) *http.Request {
	t.Helper()
	req := request(t, http.MethodPost, "/users.v1.Users/Get", strings.NewReader(emptyMessage))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return req
}

const emptyMessage = "\x00\x00\x00\x00\x00"

// endsInHead is a backend whose response ends with its head.
func endsInHead(code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", code)
		w.WriteHeader(http.StatusOK)
	}
}

// endsInTrailer is a backend that sends a message before the status.
func endsInTrailer(code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, emptyMessage)
		w.Header().Set("Grpc-Status", code)
	}
}

// grpcEnd is what Done and TryDone find.
type grpcEnd struct {
	code, ofTry     middleware.GRPCCode
	known, tryKnown bool
	status          int
	reason          middleware.Reason
}

// endOf tells how each call ended.
func endOf(s Setup) (Setup, <-chan grpcEnd) {
	ends := make(chan grpcEnd, 8)
	slot := middleware.NewSlot[grpcEnd]()
	s.Request = append([]middleware.Middleware{hook{done: func(x *middleware.Exchange) {
		e := slot.In(x)
		e.code, e.known = x.GRPCStatus()
		e.status, e.reason = x.Response.Status, x.Reason()
		ends <- *e
	}}}, s.Request...)
	s.Try = append([]middleware.TryMiddleware{tryHook{done: func(a *middleware.Attempt) {
		if e := slot.In(a.Exchange()); a.Committed() {
			e.ofTry, e.tryKnown = a.GRPCStatus()
		}
	}}}, s.Try...)
	return s, ends
}

// wantGRPC checks a local answer to a gRPC call.
func (a answer) wantGRPC(t testing.TB, code, reason string) {
	t.Helper()
	a.want(t, http.StatusOK, "")
	for field, want := range map[string]string{
		"Content-Type": "application/grpc", "Grpc-Status": code, "X-Outrigger-Reason": reason,
	} {
		if got := a.header.Get(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if a.header.Get("Grpc-Message") == "" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("message or id is missing: %v", a.header)
	}
}

var grpcScenarios = []scenario{
	{"a status in the trailer arrives, and is known at the end", func(t *testing.T, e Engine) {
		s, ends := endOf(Setup{Backends: []http.Handler{endsInTrailer("5")}})
		c := start(t, e, s)
		a := c.do(grpcCall(t))
		a.want(t, http.StatusOK, emptyMessage)
		if got := a.trailer.Get("Grpc-Status"); got != "5" {
			t.Errorf("the client gets %q", got)
		}
		want := grpcEnd{code: middleware.GRPCNotFound, ofTry: middleware.GRPCNotFound, known: true, tryKnown: true, status: http.StatusOK}
		if got := receive(t, "the end", ends); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}},
	{"a response that ends with its head arrives as it is", func(t *testing.T, e Engine) {
		s, ends := endOf(Setup{Backends: []http.Handler{endsInHead("14")}})
		c := start(t, e, s)
		a := c.do(grpcCall(t))
		a.want(t, http.StatusOK, "")
		if got := a.header.Get("Grpc-Status") + a.trailer.Get("Grpc-Status"); got != "14" {
			t.Errorf("the client gets %q", got)
		}
		want := grpcEnd{code: middleware.GRPCUnavailable, ofTry: middleware.GRPCUnavailable, known: true, tryKnown: true, status: http.StatusOK}
		if got := receive(t, "the end", ends); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}},
	{"a call that cannot be sent is answered as one", func(t *testing.T, e Engine) {
		s, ends := endOf(Setup{Backends: []http.Handler{nil}})
		c := start(t, e, s)
		for range 2 { // on a connection that is used again, too
			c.do(grpcCall(t)).wantGRPC(t, "14", "connect_failed")
			want := grpcEnd{code: middleware.GRPCUnavailable, known: true, status: http.StatusOK, reason: middleware.ReasonConnectFailed}
			if got := receive(t, "the end", ends); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		c.get(t, "/").wantReply(t, http.StatusServiceUnavailable, middleware.ReasonConnectFailed)
	}},
	{"a local reply to a call is one of gRPC", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Request: []middleware.Middleware{hook{serve: func(x *middleware.Exchange, _ middleware.Handler) error {
			err := x.ReplyMessage(http.StatusForbidden, "denied", "not you: é")
			x.Response.Header.Add("x-further", "field")
			return err
		}}}})
		a := c.do(grpcCall(t))
		a.wantGRPC(t, "7", "denied")
		if got := a.header.Get("Grpc-Message"); got != "not you: %C3%A9" || a.header.Get("X-Further") != "field" {
			t.Errorf("header %v", a.header)
		}
	}},
	{"a panic is answered as one of gRPC", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{Request: []middleware.Middleware{hook{serve: func(*middleware.Exchange, middleware.Handler) error { panic("on purpose") }}}})
		c.do(grpcCall(t)).wantGRPC(t, "13", "internal")
	}},
	{"the time that a call gives is its deadline", func(t *testing.T, e Engine) {
		backend := newWatched(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		c := start(t, e, Setup{Backends: []http.Handler{backend}})
		before := time.Now()
		c.do(grpcCall(t, "Grpc-Timeout", "100m")).wantGRPC(t, "4", "deadline")
		if took := time.Since(before); took < soon {
			t.Errorf("it was answered after %v", took)
		}
		receive(t, "the backend is canceled", backend.gone)
	}},
	{"a time that nobody understands is refused", func(t *testing.T, e Engine) {
		c := start(t, e, Setup{})
		c.do(grpcCall(t, "Grpc-Timeout", "soon")).wantGRPC(t, "13", "bad_request")
	}},
	{"a try that says it failed does not win", func(t *testing.T, e Engine) {
		failed := newGate()
		c := start(t, e, Setup{
			Policy: hedging{2, shortly},
			Backends: []http.Handler{
				http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					<-failed.opened()
					endsInTrailer("0")(w, r)
				}),
				endsInHead("14"),
			},
			Request: []middleware.Middleware{before(func(x *middleware.Exchange) { x.Request.Body.KeepForReplay(1 << 10) })},
			Try: []middleware.TryMiddleware{tryHook{try: func(a *middleware.Attempt, next middleware.TryHandler) error {
				err := next.Try(a)
				if a.Number == 1 {
					failed.open()
				}
				return err
			}}},
		})
		a := c.do(grpcCall(t))
		a.want(t, http.StatusOK, emptyMessage)
		if got := a.trailer.Get("Grpc-Status"); got != "0" {
			t.Errorf("the client gets %q", got)
		}
	}},
}
