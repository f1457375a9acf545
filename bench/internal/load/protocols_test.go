package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// protocols is a server of HTTP/1.1 and HTTP/2, with TLS or without it.
func protocols(t *testing.T, secure bool, h http.HandlerFunc) (address string, settings *TLS) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		settings = &TLS{CA: string(ca), ServerName: "example.com"}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), settings
}

// call answers a unary call of gRPC with a message of n bytes.
func call(w http.ResponseWriter, n int, status string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(n))
	_, _ = w.Write(append(message, make([]byte, n)...))
	w.Header().Set("Grpc-Status", status)
}

func TestLoopsSpeakEveryProtocol(t *testing.T) {
	for _, tt := range []struct {
		name           string
		protocol       string
		secure         bool
		streams        int
		body, response int
		proto          string // as the server sees it
	}{
		{"http1 over TLS", HTTP1, true, 0, 0, 1000, "HTTP/1.1"},
		{"large http1 over TLS", HTTP1, true, 0, 3 << 20, 2 << 20, "HTTP/1.1"},
		{"http2", HTTP2, false, 10, 0, 1000, "HTTP/2.0"},
		{"http2 with bodies", HTTP2, false, 50, 40_000, 200_000, "HTTP/2.0"}, // more than windows hold
		{"http2 over TLS", HTTP2, true, 10, 0, 1000, "HTTP/2.0"},
		{"grpc", GRPC, false, 10, 20, 300, "HTTP/2.0"},
		{"grpc over TLS", GRPC, true, 1, 0, 0, "HTTP/2.0"},
	} {
		for _, mode := range []string{Closed, Open} {
			t.Run(tt.name+" "+mode, func(t *testing.T) {
				var wrong atomic.Value
				var seen atomic.Int64
				address, secure := protocols(t, tt.secure, func(w http.ResponseWriter, r *http.Request) {
					seen.Add(1)
					body, err := io.ReadAll(r.Body)
					want := strings.Repeat("x", tt.body)
					if tt.protocol == GRPC {
						want = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(tt.body))) + want
						if r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" {
							wrong.Store(r.Header)
						}
					}
					if err != nil || string(body) != want || r.Proto != tt.proto || r.Host != "echo" || r.URL.Path != "/x" {
						wrong.Store([]any{r.Proto, r.Host, r.URL.Path, len(body), err})
					}
					if tt.protocol == GRPC {
						call(w, tt.response, "0")
					} else {
						answer(w, tt.response)
					}
				})
				spec := Spec{
					Mode: mode, Address: address, Protocol: tt.protocol, TLS: secure, Streams: tt.streams, Connections: 3,
					Request:  Request{Method: http.MethodPost, Host: "echo", Path: "/x", Body: tt.body, Response: tt.response},
					Duration: 200 * time.Millisecond,
				}
				if mode == Open {
					spec.Rate = 50
				}
				r := mustRun(t, spec)
				if w := wrong.Load(); w != nil {
					t.Errorf("the server got %v", w)
				}
				if r.Errors != 0 || r.Requests == 0 || int64(r.Requests) != seen.Load() {
					t.Errorf("%d requests and %d errors (%q), the server has seen %d", r.Requests, r.Errors, r.First, seen.Load())
				}
			})
		}
	}
}

// frames is a server of HTTP/2 that a test plays by hand: it is called for each
// request.
func frames(t *testing.T, first []xhttp2.Setting, request func(f *xhttp2.Framer, stream uint32)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, len(xhttp2.ClientPreface))); err != nil {
					return
				}
				f := xhttp2.NewFramer(c, c)
				_ = f.WriteSettings(first...)
				for {
					fr, err := f.ReadFrame()
					if err != nil {
						return
					}
					if h, ok := fr.(*xhttp2.HeadersFrame); ok {
						request(f, h.StreamID)
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true})
	}
	return b.Bytes()
}

func TestErrorsOfHTTP2AreSeen(t *testing.T) {
	head := func(f *xhttp2.Framer, id uint32, end bool, fields ...string) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block(fields...), EndHeaders: true, EndStream: end})
	}
	for want, request := range map[string]func(f *xhttp2.Framer, id uint32){
		"status 503": func(f *xhttp2.Framer, id uint32) { head(f, id, true, ":status", "503") },
		"a body of 1 bytes, expected 2": func(f *xhttp2.Framer, id uint32) {
			head(f, id, false, ":status", "200")
			_ = f.WriteData(id, true, []byte("x"))
		},
		"the stream was reset, code 7": func(f *xhttp2.Framer, id uint32) { _ = f.WriteRSTStream(id, xhttp2.ErrCodeRefusedStream) },
		"GOAWAY, code 11":              func(f *xhttp2.Framer, _ uint32) { _ = f.WriteGoAway(0, xhttp2.ErrCodeEnhanceYourCalm, nil) },
		"header block": func(f *xhttp2.Framer, id uint32) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		},
		"a continuation of nothing": func(f *xhttp2.Framer, id uint32) { _ = f.WriteContinuation(id, true, nil) },
		"within the header block of stream": func(f *xhttp2.Framer, id uint32) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x88}})
			_ = f.WritePing(false, [8]byte{})
		},
	} {
		t.Run(want, func(t *testing.T) {
			for _, mode := range []string{Closed, Open} {
				spec := Spec{Mode: mode, Protocol: HTTP2, Streams: 2, Address: frames(t, nil, request), Request: get(2), Connections: 2, Duration: 100 * time.Millisecond}
				if mode == Open {
					spec.Rate = 500
				}
				r := mustRun(t, spec)
				if r.Errors == 0 || !strings.Contains(strings.Join(r.First, "\n"), want) {
					t.Errorf("%s: %d errors: %q", mode, r.Errors, r.First)
				}
			}
		})
	}
}

func TestACallThatFailedIsAnError(t *testing.T) {
	address, _ := protocols(t, false, func(w http.ResponseWriter, _ *http.Request) { call(w, 2, "14") })
	r := mustRun(t, Spec{Mode: Closed, Protocol: GRPC, Address: address, Request: get(2), Connections: 1, Duration: 50 * time.Millisecond})
	if r.Requests != 0 || r.Errors == 0 || r.First[0] != `grpc-status "14"` {
		t.Errorf("%+v", r)
	}
}

func TestABlockInPiecesAndAnInterimHeadAreTaken(t *testing.T) {
	address := frames(t, nil, func(f *xhttp2.Framer, id uint32) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block(":status", "103"), EndHeaders: true})
		b := block(":status", "200", "x", "y")
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: b[:3], EndStream: true, PadLength: 4})
		_ = f.WriteContinuation(id, false, b[3:4])
		_ = f.WriteContinuation(id, true, b[4:])
	})
	r := mustRun(t, Spec{Mode: Closed, Protocol: HTTP2, Address: address, Request: get(0), Connections: 1, Duration: 50 * time.Millisecond})
	if r.Errors > 0 || r.Requests == 0 {
		t.Errorf("%+v", r)
	}
}

func TestServersThatCannotBeLoaded(t *testing.T) {
	spec := Spec{Mode: Closed, Protocol: HTTP2, Request: get(2), Connections: 1, Streams: 5, Duration: time.Second}
	with := func(change func(*Spec)) Spec {
		s := spec
		change(&s)
		return s
	}
	secure, trusted := protocols(t, true, func(http.ResponseWriter, *http.Request) {})
	for want, s := range map[string]Spec{
		"takes 3 streams at a time, and 5": with(func(s *Spec) {
			s.Address = frames(t, []xhttp2.Setting{{ID: xhttp2.SettingMaxConcurrentStreams, Val: 3}}, nil)
		}),
		"a stream's window of 10": with(func(s *Spec) {
			s.Address = frames(t, []xhttp2.Setting{{ID: xhttp2.SettingInitialWindowSize, Val: 10}}, nil)
			s.Request.Body = 11
		}),
		"frame of": with(func(s *Spec) { // no HTTP/2
			s.Address = raw(t, func(_ int, c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
		}),
		"certificate": with(func(s *Spec) { s.Address, s.TLS = secure, &TLS{CA: trusted.CA, ServerName: "other.test"} }),
		"tls.ca":      with(func(s *Spec) { s.Address, s.TLS = secure, &TLS{CA: "none", ServerName: "example.com"} }),
		"TLS: ": with(func(s *Spec) { // plain
			s.Address, s.TLS = frames(t, nil, nil), trusted
		}),
	} {
		if _, err := Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestPendingRequestsAreHeld(t *testing.T) {
	var open atomic.Int64
	address, _ := protocols(t, false, func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		<-r.Context().Done()
	})
	lost, err := Hold(t.Context(), Spec{Mode: Pending, Protocol: HTTP2, Address: address, Request: get(2), Connections: 5, Streams: 20},
		func() error {
			for deadline := time.Now().Add(10 * time.Second); open.Load() != 100; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("the server has %d requests, want 100", open.Load())
				}
			}
			return nil
		}, closed())
	if err != nil || lost != 0 {
		t.Errorf("%d lost, %v", lost, err)
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestPendingRequestsThatAreAnsweredAreTold(t *testing.T) {
	address, _ := protocols(t, false, func(w http.ResponseWriter, _ *http.Request) { answer(w, 2) })
	release := make(chan struct{})
	time.AfterFunc(200*time.Millisecond, func() { close(release) }) // the answers are there by then, or the next look has them
	for deadline := time.Now().Add(10 * time.Second); ; {
		lost, err := Hold(t.Context(), Spec{Mode: Pending, Protocol: HTTP2, Address: address, Request: get(2), Connections: 2, Streams: 2}, func() error { return nil }, release)
		if err != nil {
			// It may have come while the requests were sent.
			t.Fatal(err)
		}
		if lost == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lost", lost)
		}
	}
}

func TestMainHoldsPendingRequests(t *testing.T) {
	address, _ := protocols(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	text, err := json.Marshal(Spec{Mode: Pending, Protocol: HTTP2, Address: address, Request: get(2), Connections: 2, Streams: 2})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Main(t.Context(), bytes.NewReader(text), &out); err != nil || out.String() != "{\"open\":2,\"lost\":0}\n{\"open\":0,\"lost\":0}\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestIdleConnectionsOverTLSAreHeld(t *testing.T) {
	address, secure := protocols(t, true, func(w http.ResponseWriter, _ *http.Request) { answer(w, 2) })
	for _, protocol := range []string{HTTP1, HTTP2} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		lost, err := Hold(ctx, Spec{Mode: Idle, Protocol: protocol, TLS: secure, Address: address, Request: get(2), Connections: 4}, func() error { return nil }, closed())
		if err != nil || lost != 0 {
			t.Errorf("%d lost, %v", lost, err)
		}
		cancel()
	}
}

// FuzzHTTP2 feeds what a server could send to a connection with open streams, in
// two ways that have to come to the same.
func FuzzHTTP2(f *testing.F) {
	var good bytes.Buffer
	fr := xhttp2.NewFramer(&good, nil)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "200"), EndHeaders: true})
	_ = fr.WriteData(1, true, []byte("ok"))
	_ = fr.WriteRSTStream(3, xhttp2.ErrCodeCancel)
	f.Add(good.Bytes(), uint8(4))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		feed := func(n int) (slots []int, failed bool) {
			h := newHTTP2(Spec{Protocol: HTTP2, Streams: 2, Request: get(2)})
			if h.begun(Spec{Streams: 2}) != nil {
				t.Fatal("no settings, and it cannot begin")
			}
			out := h.begin(h.begin(nil, 0), 1)
			rest := data
			for len(rest) > 0 {
				k := min(n, len(rest))
				var err error
				if out, err = h.feed(out, rest[:k], func(slot int, _ error) { slots = append(slots, slot) }); err != nil {
					return slots, true
				}
				rest = rest[k:]
			}
			return slots, false
		}
		whole, wholeFailed := feed(max(1, len(data)))
		pieces, piecesFailed := feed(max(1, int(size)))
		if wholeFailed != piecesFailed || len(whole) != len(pieces) {
			t.Errorf("%v, %v at once; %v, %v in pieces", whole, wholeFailed, pieces, piecesFailed)
		}
	})
}
