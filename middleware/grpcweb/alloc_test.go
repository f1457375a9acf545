package grpcweb

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// nowhere is a client's side that nothing goes to.
type nowhere struct{}

func (nowhere) Interrupt(*middleware.Exchange, error)                    {}
func (nowhere) Inform(int, *middleware.Header) error                     { return nil }
func (nowhere) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }

type picker struct{ e *middleware.Endpoint }

func (p *picker) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return p.e, nil }

type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// running is a whole call in steady state; the answer is what the client gets.
func running(contentType string, sent []byte) (run func(), answer *[]byte) {
	var back body
	message := frame{0, "hello"}.bytes()
	typeName, typeValue, status, zero := []byte("content-type"), []byte("application/grpc"), []byte("grpc-status"), []byte("0")
	buf := make([]byte, 4096)
	only := &picker{&middleware.Endpoint{Stats: new(middleware.Stats), Transport: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
		for {
			if _, err := a.Body().Read(buf); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		back.Reset(message)
		a.Response.Status = http.StatusOK
		a.Response.Header.Append(typeName, typeValue)
		a.Response.Trailer.Append(status, zero)
		a.Response.Body = &back
		return nil
	})}}
	target := &middleware.Target{Pick: func(*middleware.Exchange) (middleware.Picker, error) { return only, nil }, Try: middleware.Transport}
	chain := middleware.Chain(middleware.Router, New(Config{}))
	x := middleware.NewExchange(nowhere{})
	method, path, value := []byte("POST"), []byte("/a.B/C"), []byte(contentType)
	var in bytes.Reader
	got := make([]byte, 0, 4096)
	return func() {
		x.Reset()
		in.Reset(sent)
		x.Start = time.Now()
		x.Request.Method, x.Request.Target = method, path
		x.Request.Header.Append(typeName, value)
		x.Request.Body.Reset(&in)
		x.SetTarget(target)
		x.Serve(chain)
		got = got[:0]
		for {
			n, err := x.Response.Body.Read(got[len(got):cap(got)])
			if got = got[:len(got)+n]; errors.Is(err, io.EOF) {
				break
			}
		}
		x.End(nil)
	}, &got
}

func TestACallAllocatesNothing(t *testing.T) {
	for contentType, tt := range map[string]struct{ sent, want string }{
		"application/grpc-web":      {"\x00\x00\x00\x00\x01x", "\x00\x00\x00\x00\x05hello\x80\x00\x00\x00\x10grpc-status: 0\r\n"},
		"application/grpc-web-text": {"AAAAAAF4", "AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K"},
	} {
		run, answer := running(contentType, []byte(tt.sent))
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations, want none", contentType, n)
		}
		if string(*answer) != tt.want {
			t.Errorf("%s: answered %q, want %q", contentType, *answer, tt.want)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	for _, contentType := range []string{"application/grpc-web", "application/grpc-web-text"} {
		b.Run(contentType, func(b *testing.B) {
			run, _ := running(contentType, []byte("AAAAAAF4"))
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
