package grpcweb

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestKindKeepsTheContract(t *testing.T) {
	middlewaretest.RunKind(t, middlewaretest.Memory{}, Kind, "{allowOrigins: [https://app.example.com]}", "{allowOrigins: ['*']}")
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{"[https://app.example.com/]", `middleware.yaml:1:28: [0].grpcweb.allowOrigins[0]: "https://app.example.com/" is not an origin`},
		{"[https://b.test, https://B.test]", `middleware.yaml:1:44: [0].grpcweb.allowOrigins[1]: `},
		{"[app.example.com]", `middleware.yaml:1:28: `},
		{"['https://a.test:443']", `middleware.yaml:1:28: `},
		{"['https://']", `middleware.yaml:1:28: `},
		{"['ftp://a.test']", `middleware.yaml:1:28: `},
		{"[https://a.test, '*']", `middleware.yaml:1:44: [0].grpcweb.allowOrigins[1]: * allows every origin: give it alone`},
		{"[https://a.test, https://a.test]", `middleware.yaml:1:44: [0].grpcweb.allowOrigins[1]: "https://a.test" stands in the list twice`},
	} {
		n, err := conf.Parse("middleware.yaml", []byte("- grpcweb: {allowOrigins: "+tt.config+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := middleware.ParseList(n, []middleware.Kind{Kind}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got  %v\nwant %s", tt.config, err, tt.want)
		}
	}
}

// frame is one frame of a gRPC-Web body.
type frame struct {
	flag byte
	data string
}

func (f frame) bytes() []byte {
	b := binary.BigEndian.AppendUint32([]byte{f.flag}, uint32(len(f.data)))
	return append(b, f.data...)
}

// framesOf takes a body apart.
func framesOf(t *testing.T, body []byte) (all []frame) {
	t.Helper()
	for len(body) > 0 {
		if len(body) < frameHead {
			t.Fatalf("%q is no frame", body)
		}
		n := int(binary.BigEndian.Uint32(body[1:frameHead]))
		if n > len(body)-frameHead {
			t.Fatalf("a frame of %d bytes, and %d are left", n, len(body)-frameHead)
		}
		all = append(all, frame{body[0], string(body[frameHead : frameHead+n])})
		body = body[frameHead+n:]
	}
	return all
}

// groups decodes base64 group by group, as padding may stand in each.
func groups(t *testing.T, text []byte) []byte {
	t.Helper()
	if len(text)%4 != 0 {
		t.Fatalf("%d characters are no whole groups", len(text))
	}
	var data []byte
	for g := range slices.Chunk(text, 4) {
		var err error
		if data, err = base64.StdEncoding.Strict().AppendDecode(data, g); err != nil {
			t.Fatalf("%q: %v", g, err)
		}
	}
	return data
}

// appServer is a gRPC server, as an http.Handler.
func appServer(t *testing.T) http.Handler {
	t.Helper()
	h := health.NewServer()
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("X-Trail", "long way"))
		if d, ok := ctx.Deadline(); ok {
			_ = grpc.SetHeader(ctx, metadata.Pairs("x-left", time.Until(d).Truncate(time.Hour).String()))
		}
		return next(ctx, req)
	}))
	healthpb.RegisterHealthServer(s, h)
	t.Cleanup(s.Stop)
	return s
}

// start serves a backend behind the middleware of a configuration.
func start(t *testing.T, c Config, backend http.Handler, further ...middleware.Middleware) http.RoundTripper {
	t.Helper()
	return middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request:  append([]middleware.Middleware{New(c)}, further...),
		Backends: []http.Handler{backend},
	})
}

func check(t *testing.T, service string) []byte {
	t.Helper()
	m, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return frame{0, string(m)}.bytes()
}

// head is what a client gets beside the body.
type head struct {
	StatusCode      int
	Header, Trailer http.Header
}

func send(t *testing.T, rt http.RoundTripper, path, contentType string, body []byte, fields ...string) (head, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://app.test"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return head{resp.StatusCode, resp.Header, resp.Trailer}, answer, err
}

const checkPath = "/grpc.health.v1.Health/Check"

func TestCallsOfBrowsersReachAGRPCServer(t *testing.T) {
	rt := start(t, Config{}, appServer(t))
	for _, tt := range []struct {
		name, contentType, accept, wantType string
		service                             string
		text                                bool // the request
		frames                              []frame
	}{
		{"binary", "application/grpc-web+proto", "", "application/grpc-web+proto", "", false, []frame{{0, "\b\x01"}, {0x80, "grpc-status: 0\r\ngrpc-message: \r\nx-trail: long way\r\n"}}},
		{"without a suffix", "application/grpc-web", "", "application/grpc-web", "orders", false, []frame{{0, "\b\x02"}, {0x80, "grpc-status: 0\r\ngrpc-message: \r\nx-trail: long way\r\n"}}},
		{"text", "application/grpc-web-text+proto", "", "application/grpc-web-text+proto", "orders", true, []frame{{0, "\b\x02"}, {0x80, "grpc-status: 0\r\ngrpc-message: \r\nx-trail: long way\r\n"}}},
		{"text for binary", "application/grpc-web+proto", "text/html, application/grpc-web-text", "application/grpc-web-text+proto", "", false, []frame{{0, "\b\x01"}, {0x80, "grpc-status: 0\r\ngrpc-message: \r\nx-trail: long way\r\n"}}},
		{"binary for text", "application/grpc-web-text", "application/grpc-web", "application/grpc-web", "", true, []frame{{0, "\b\x01"}, {0x80, "grpc-status: 0\r\ngrpc-message: \r\nx-trail: long way\r\n"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := check(t, tt.service)
			if tt.text {
				body = base64.StdEncoding.AppendEncode(nil, body)
			}
			resp, answer, err := send(t, rt, checkPath, tt.contentType, body, "Accept", tt.accept, "Grpc-Timeout", "100M")
			if err != nil || resp.StatusCode != http.StatusOK || len(resp.Trailer) != 0 || resp.Header.Get("Trailer") != "" {
				t.Fatalf("%d, %v, trailer %v, announced %q", resp.StatusCode, err, resp.Trailer, resp.Header.Get("Trailer"))
			}
			if got := resp.Header.Get("Content-Type"); got != tt.wantType {
				t.Errorf("content-type %q, want %q", got, tt.wantType)
			}
			if strings.Contains(tt.wantType, "-text") {
				answer = groups(t, answer)
			}
			got := framesOf(t, answer)
			if len(got) == 2 { // a server may leave an empty message out
				got[1].data = sorted(got[1].data)
			}
			tt.frames[1].data = sorted(tt.frames[1].data)
			if diff := cmp.Diff(tt.frames, got, cmp.AllowUnexported(frame{})); diff != "" {
				t.Error(diff)
			}
			if left := resp.Header.Get("X-Left"); left != "1h0m0s" {
				t.Errorf("the server has %s left", left)
			}
		})
	}
}

// sorted is the lines of a trailer in one order, without an empty message.
func sorted(trailer string) string {
	lines := strings.SplitAfter(strings.ReplaceAll(trailer, "grpc-message: \r\n", ""), "\r\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestFailedCallsHaveTheirStatus(t *testing.T) {
	rt := start(t, Config{}, appServer(t))
	_, answer, err := send(t, rt, checkPath, "application/grpc-web", check(t, "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	got := framesOf(t, answer)
	if len(got) != 1 || got[0].flag != flagTrailer || !strings.Contains(got[0].data, "grpc-status: 5\r\n") || !strings.Contains(got[0].data, "grpc-message: unknown service\r\n") {
		t.Errorf("frames %q", got)
	}
}

func TestAResponseWithoutABodyKeepsItsStatusInTheHeader(t *testing.T) {
	for name, backend := range map[string]http.Handler{
		"of the server": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc+proto")
			w.Header().Set("Grpc-Status", "14")
			w.Header().Set("Grpc-Message", "later")
		}),
		"of the proxy": nil,
	} {
		t.Run(name, func(t *testing.T) {
			rt := start(t, Config{}, backend)
			resp, answer, err := send(t, rt, checkPath, "application/grpc-web-text+proto", base64.StdEncoding.AppendEncode(nil, check(t, "")))
			if err != nil || len(answer) != 0 || resp.Header.Get("Grpc-Status") != "14" || resp.Header.Get("Grpc-Message") == "" {
				t.Errorf("%v, %v, %q", err, resp.Header, answer)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/grpc-web-text+proto" {
				t.Errorf("content-type %q", got)
			}
		})
	}
}

func TestARefusalFromAnywhereIsOneOfGRPCWeb(t *testing.T) {
	outer := middleware.Func(func(x *middleware.Exchange, next middleware.Handler) error {
		if err := next.Serve(x); err != nil {
			return err
		}
		return x.Reply(http.StatusForbidden, "denied") // although there is a response
	})
	rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
		Request:  []middleware.Middleware{outer, New(Config{AllowOrigins: []string{"https://a.test"}})},
		Backends: []http.Handler{appServer(t)},
	})
	resp, answer, err := send(t, rt, checkPath, "application/grpc-web+json", check(t, ""), "Origin", "https://a.test")
	want := map[string]string{
		"Content-Type": "application/grpc-web+json", "Grpc-Status": "7", "X-Outrigger-Reason": "denied",
		"Access-Control-Allow-Origin": "https://a.test", "Vary": "Origin",
	}
	for field, value := range want {
		if got := resp.Header.Get(field); got != value {
			t.Errorf("%s is %q, want %q", field, got, value)
		}
	}
	if err != nil || len(answer) != 0 || resp.StatusCode != http.StatusOK {
		t.Errorf("%d, %v, %q", resp.StatusCode, err, answer)
	}
}

func TestWhatIsNotGRPCWebPassesAsItIs(t *testing.T) {
	var saw http.Header
	rt := start(t, Config{AllowOrigins: []string{"*"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		saw = r.Header.Clone()
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	for _, contentType := range []string{"application/grpc", "application/json", "application/grpc-webx", "application/grpc-web-textual"} {
		resp, answer, err := send(t, rt, "/a.B/C", contentType, []byte("body"))
		if err != nil || string(answer) != "body" || saw.Get("Content-Type") != contentType || resp.Header.Get("Content-Type") != contentType || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: %q, %v, %v, saw %v", contentType, answer, err, resp.Header, saw)
		}
	}
}

func TestAnAnswerThatIsNotGRPCPassesAsItIs(t *testing.T) {
	rt := start(t, Config{}, http.NotFoundHandler())
	resp, answer, err := send(t, rt, "/a.B/C", "application/grpc-web", check(t, ""))
	if err != nil || resp.StatusCode != http.StatusNotFound || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || len(answer) == 0 {
		t.Errorf("%d, %v, %v, %q", resp.StatusCode, err, resp.Header, answer)
	}
}

func TestTheServerSeesAGRPCCall(t *testing.T) {
	type seen struct {
		contentType string
		grpc        bool
		length      int64
		service     string
		body        string
	}
	var got seen
	look := middleware.Func(func(x *middleware.Exchange, next middleware.Handler) error {
		service, _ := x.GRPCMethod()
		got = seen{
			string(x.Request.Header.Get("content-type")), x.GRPC(), x.Request.ContentLength, string(service),
			string(x.Request.Header.Get("te")),
		}
		return next.Serve(x)
	})
	rt := start(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got.body += " " + string(b)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "0")
	}), look)
	for contentType, tt := range map[string]struct {
		body string
		want seen
	}{
		"application/grpc-web+json":                      {"body", seen{"application/grpc+json", true, 4, "a.B", "trailers body"}},
		"Application/GRPC-Web-Text+proto; charset=utf-8": {"Ym9keQ==", seen{"application/grpc+proto", true, -1, "a.B", "trailers body"}},
	} {
		if _, _, err := send(t, rt, "/a.B/C", contentType, []byte(tt.body)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(seen{})); diff != "" {
			t.Errorf("%s: %s", contentType, diff)
		}
	}
}

func TestABodyThatIsNoBase64IsTheClientsMistake(t *testing.T) {
	for _, body := range []string{"AAAA*AAA", "AAA", "AAAAA===", "AA=A", "AAAA\nAAA", "AAB="} {
		var reason middleware.Reason
		look := &ending{see: func(x *middleware.Exchange) { reason = x.Reason() }}
		t.Run(body, func(t *testing.T) {
			rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
				Request: []middleware.Middleware{look, New(Config{})},
				Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err == nil {
						t.Error("the server takes it for whole")
					}
				})},
			})
			resp, _, err := send(t, rt, "/a.B/C", "application/grpc-web-text", []byte(body))
			if err != nil || resp.Header.Get("Grpc-Status") != "13" || !strings.Contains(resp.Header.Get("Grpc-Message"), "base64") {
				t.Errorf("%v, %v", err, resp.Header)
			}
		})
		if reason != middleware.ReasonClientBody {
			t.Errorf("%q: %s", body, reason)
		}
	}
}

// ending tells what exchanges have come to.
type ending struct{ see func(*middleware.Exchange) }

func (e *ending) Wrap(next middleware.Handler) middleware.Handler { return &endingHandler{e, next} }

type endingHandler struct {
	*ending
	next middleware.Handler
}

func (h *endingHandler) Serve(x *middleware.Exchange) error { return h.next.Serve(x) }

func (h *endingHandler) Done(x *middleware.Exchange) { h.see(x) }

func TestStatusAndErrorReachTheLog(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(http.ResponseWriter)
		want   middleware.GRPCCode
		broken bool
	}{
		"good":      {func(w http.ResponseWriter) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0") }, middleware.GRPCOK, false},
		"failed":    {func(w http.ResponseWriter) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5") }, middleware.GRPCNotFound, false},
		"broke off": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, middleware.GRPCUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			var code middleware.GRPCCode
			var ofTry string
			t.Run("serve", func(t *testing.T) {
				rt := middlewaretest.Memory{}.Start(t, middlewaretest.Setup{
					Request: []middleware.Middleware{&ending{func(x *middleware.Exchange) {
						code, _ = x.GRPCStatus()
						last := x.Attempts()[0]
						c, ok := last.GRPCStatus()
						if ofTry = c.String(); !ok {
							ofTry = ""
						}
					}}, New(Config{})},
					Backends: []http.Handler{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						w.Header().Set("Content-Type", "application/grpc")
						_, _ = w.Write(frame{0, "m"}.bytes())
						w.(http.Flusher).Flush()
						tt.end(w)
					})},
				})
				_, answer, err := send(t, rt, "/a.B/C", "application/grpc-web-text", base64.StdEncoding.AppendEncode(nil, check(t, "")))
				if (err != nil) != tt.broken {
					t.Errorf("%q, %v", answer, err)
				}
				if all := framesOf(t, groups(t, answer)); len(all) != 2 && !tt.broken || len(all) > 1 && tt.broken {
					t.Errorf("frames %q", all)
				}
			})
			if code != tt.want || !tt.broken && ofTry != tt.want.String() || tt.broken && ofTry != "" {
				t.Errorf("the log has %v, the attempt %s; want %v", code, ofTry, tt.want)
			}
		})
	}
}

func TestStreamsStayStreams(t *testing.T) {
	for _, contentType := range []string{"application/grpc-web", "application/grpc-web-text"} {
		t.Run(contentType, func(t *testing.T) {
			text := strings.HasSuffix(contentType, "text")
			next := make(chan struct{})
			rt := start(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/grpc")
				w.(http.Flusher).Flush()
				buf := make([]byte, frameHead+1)
				for {
					if _, err := io.ReadFull(r.Body, buf); err != nil {
						if !errors.Is(err, io.EOF) {
							t.Error(err)
						}
						break
					}
					_, _ = w.Write(buf)
					w.(http.Flusher).Flush()
					<-next
				}
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
			}))
			pr, pw := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://app.test/a.B/C", pr)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", contentType)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			for i := range 5 {
				m := frame{0, string(rune('a' + i))}.bytes()
				sent, size := m, len(m)
				if text {
					sent = base64.StdEncoding.AppendEncode(nil, m) // padded: it is all that there is yet
					size = len(sent)
				}
				if _, err := pw.Write(sent); err != nil {
					t.Fatal(err)
				}
				back := make([]byte, size)
				if _, err := io.ReadFull(resp.Body, back); err != nil || !bytes.Equal(back, sent) {
					t.Fatalf("sent %q, got %q, %v", sent, back, err)
				}
				next <- struct{}{}
			}
			_ = pw.Close()
			rest, err := io.ReadAll(resp.Body)
			if text {
				rest = groups(t, rest)
			}
			if got := framesOf(t, rest); err != nil || len(got) != 1 || got[0] != (frame{flagTrailer, "grpc-status: 0\r\n"}) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestLargeBodiesPassUnchanged(t *testing.T) {
	rt := start(t, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"X-Long", strings.Repeat("v", 3000))
	}))
	message := frame{0, strings.Repeat("0123456789", 200_001)}
	var text []byte
	for piece := range slices.Chunk(message.bytes(), 1000) { // each with padding of its own
		text = base64.StdEncoding.AppendEncode(text, piece)
	}
	_, answer, err := send(t, rt, "/a.B/C", "application/grpc-web-text", text)
	if err != nil {
		t.Fatal(err)
	}
	got := framesOf(t, groups(t, answer))
	if len(got) != 2 || got[0] != message || len(got[1].data) < 3000 {
		t.Errorf("%d frames", len(got))
	}
}
