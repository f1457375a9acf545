package middleware

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestContentTypesOfGRPC(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;v=1": true, "Application/GRPC+JSON": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grpc-web-text": false,
		"application/grpcx": false, "application/grp": false, "text/application/grpc": false, "": false,
	} {
		var h Header
		h.Add("Content-Type", value)
		if got := IsGRPC(&h); got != want {
			t.Errorf("%q: %t, want %t", value, got, want)
		}
	}
	if IsGRPC(new(Header)) {
		t.Error("no content-type is one of gRPC")
	}
}

func TestTimeoutsAreNeverLongerThanWhatIsLeft(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "1n", 0: "1n", 1: "1n", 99_999_999: "99999999n", 100_000_000: "100000u", 100_000_001: "100000u",
		time.Second: "1000000u", 99_999_999 * time.Microsecond: "99999999u", 100*time.Second + 999_999: "100000m",
		99_999_999 * time.Millisecond: "99999999m", 100_000 * time.Second: "100000S",
		99_999_999 * time.Second: "99999999S", 100_000_000 * time.Second: "1666666M", 6_000_000_000 * time.Second: "1666666H", math.MaxInt64: "2562047H",
	} {
		if got := string(AppendGRPCTimeout(nil, d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestTimeoutsAreReadStrictly(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"1n": 1, "0n": 0, "1u": time.Microsecond, "20m": 20 * time.Millisecond, "3S": 3 * time.Second, "4M": 4 * time.Minute,
		"5H": 5 * time.Hour, "00000005H": 5 * time.Hour, "99999999H": math.MaxInt64, "99999999n": 99_999_999,
	} {
		if got, ok := ParseGRPCTimeout([]byte(value)); !ok || got != want {
			t.Errorf("%q: %v, %t; want %v", value, got, ok, want)
		}
	}
	for _, value := range []string{"", "n", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "1 S", "1mS", "123456789n", "1\x00", "٣S"} {
		if got, ok := ParseGRPCTimeout([]byte(value)); ok {
			t.Errorf("%q was read as %v", value, got)
		}
	}
}

func FuzzTimeouts(f *testing.F) {
	for _, d := range []int64{0, 1, 99_999_999, 100_000_000, 1 << 40, math.MaxInt64, -1} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		d := time.Duration(n)
		b := AppendGRPCTimeout(nil, d)
		back, ok := ParseGRPCTimeout(b)
		if !ok || len(b) > 9 {
			t.Fatalf("%v is written as %q", d, b)
		}
		if d < 1 {
			d = 1
		}
		if back > d || d-back > d/100_000 { // six digits at least are exact
			t.Fatalf("%v is written as %q, which is %v", d, b, back)
		}
	})
}

func FuzzMessagesComeBack(f *testing.F) {
	for _, s := range []string{"", "plain text", "100%", "é 世界", "\x00\r\n\x7f", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := AppendGRPCMessage(nil, s)
		for _, c := range b {
			if c < ' ' || c > '~' {
				t.Fatalf("%q is written as %q", s, b)
			}
		}
		if got, err := url.PathUnescape(string(b)); err != nil || got != s {
			t.Fatalf("%q came back as %q, %v", s, got, err)
		}
	})
}

func TestCodesHaveTheirNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range GRPCCodes {
		var back GRPCCode
		for _, text := range []string{c.String(), strings.ToLower(c.String()), strconv.Itoa(int(c))} {
			if err := back.UnmarshalText([]byte(text)); err != nil || back != c || seen[c.String()] {
				t.Errorf("%d: %q is read as %v, %v", c, text, back, err)
			}
		}
		seen[c.String()] = true
		if h := c.HTTP(); h < 200 || h > 599 {
			t.Errorf("%v is HTTP %d", c, h)
		}
		if c.digits() != strconv.Itoa(int(c)) || parseGRPCCode([]byte(c.digits())) != c {
			t.Errorf("%v is written as %q", c, c.digits())
		}
	}
	if GRPCUnauthenticated != 16 || len(seen) != 17 {
		t.Errorf("%d names", len(seen))
	}
	if got := GRPCCode(99).String() + " " + GRPCCode(99).digits(); got != "99 99" {
		t.Errorf("a number without a name is %q", got)
	}
	var c GRPCCode
	for _, text := range []string{"", "17", "-1", "unavailabl", "01"} {
		if err := c.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, c)
		}
	}
	for value, want := range map[string]GRPCCode{"": GRPCUnknown, "x": GRPCUnknown, "-1": GRPCUnknown, "42": 42, "9999999999": GRPCUnknown} {
		if got := parseGRPCCode([]byte(value)); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	var failed []string
	for c := range GRPCCodes {
		if c.Failed() {
			failed = append(failed, c.String())
		}
	}
	if diff := cmp.Diff([]string{"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}, failed); diff != "" {
		t.Error(diff)
	}
}

// TestEveryReasonHasAStatusOfGRPC reads the reasons out of the code of the whole
// module, so that none can be added without a decision.
func TestEveryReasonHasAStatusOfGRPC(t *testing.T) {
	open := map[Reason]bool{ReasonNone: true, ReasonRouteStatus: true, "cors_preflight": true} // the HTTP status says it
	found := 0
	for _, reason := range reasonsOf(t, "..") {
		found++
		if _, ok := grpcOfReason[reason]; ok == open[reason] {
			t.Errorf("reason %q: in the table %t; it has to stand in one of grpcOfReason and this test", reason, ok)
		}
	}
	if want := len(grpcOfReason) + len(open); found != want {
		t.Errorf("%d reasons are in the code, %d here", found, want)
	}
}

// reasonsOf is every constant of the type Reason in the Go files below dir.
func reasonsOf(t *testing.T, dir string) (all []Reason) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v, _ := spec.(*ast.ValueSpec)
				if !isReason(v.Type, f.Name.Name) {
					continue
				}
				for _, value := range v.Values {
					lit, ok := value.(*ast.BasicLit)
					if !ok {
						t.Errorf("%s: %s is no literal", path, v.Names[0].Name)
						continue
					}
					s, err := strconv.Unquote(lit.Value)
					if err != nil {
						return err
					}
					all = append(all, Reason(s))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isReason(e ast.Expr, pkg string) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return pkg == "middleware" && e.Name == "Reason"
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "middleware" && e.Sel.Name == "Reason"
	}
	return false
}

// grpcExchange is an exchange with a gRPC call.
func grpcExchange(fields ...string) *Exchange {
	x := newTestExchange()
	fillGRPC(x, fields...)
	return x
}

func fillGRPC(x *Exchange, fields ...string) {
	x.Start = time.Now()
	x.Request.Proto = HTTP2
	x.Request.Method = []byte("POST")
	x.Request.Target = []byte("/users.v1.Users/Get")
	x.Request.Header.Add("content-type", "application/grpc+proto")
	x.Request.Header.Add("x-request-id", "id-1")
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
}

func fieldsOf(h *Header) map[string]string {
	all := map[string]string{}
	for f := range h.All() {
		all[string(f.Name)] += string(f.Value)
	}
	return all
}

func TestLocalAnswersToGRPCCallsAreGRPC(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		status  int // of HTTP
		code    GRPCCode
		message string
		reason  Reason
	}{
		"refusal": {
			&Reject{Status: 503, Reason: ReasonNoEndpoint, Message: "no endpoint: 100% are gone\n"}, 503, GRPCUnavailable,
			"no endpoint: 100%25 are gone%0A", ReasonNoEndpoint,
		},
		"without a message": {&Reject{Status: 403, Reason: "denied"}, 403, GRPCPermissionDenied, "Forbidden", "denied"},
		"of a kind's own":   {&Reject{Status: 418, Reason: "teapot"}, 418, GRPCUnknown, "I'm a teapot", "teapot"},
		"by the route":      {&Reject{Status: 401, Reason: ReasonRouteStatus}, 401, GRPCUnauthenticated, "Unauthorized", ReasonRouteStatus},
		"limited":           {&Reject{Status: 429, Reason: "rate_limited"}, 429, GRPCResourceExhausted, "Too Many Requests", "rate_limited"},
		"unknown host":      {&Reject{Status: 404, Reason: ReasonUnknownHost}, 404, GRPCUnimplemented, "Not Found", ReasonUnknownHost},
		"limit of the try":  {ErrTryTimeout, 504, GRPCDeadlineExceeded, "the service did not answer in time", ReasonTryTimeout},
		"anything":          {errors.New("x"), 500, GRPCInternal, "Internal Server Error", ReasonInternal},
		"a long message":    {&Reject{Status: 503, Reason: ReasonOverload, Message: strings.Repeat("é", 4000)}, 503, GRPCUnavailable, strings.Repeat("%C3%A9", 512), ReasonOverload},
	} {
		t.Run(name, func(t *testing.T) {
			x := grpcExchange()
			if !x.Serve(HandlerFunc(func(*Exchange) error { return tt.err })) {
				t.Fatal("nothing is to be sent")
			}
			r := x.Response
			want := map[string]string{
				"content-type": "application/grpc", "grpc-status": strconv.Itoa(int(tt.code)), "grpc-message": tt.message,
				"x-request-id": "id-1", "x-outrigger-reason": string(tt.reason),
			}
			if diff := cmp.Diff(want, fieldsOf(&r.Header)); diff != "" {
				t.Error(diff)
			}
			if r.Status != http.StatusOK || r.ContentLength != 0 || r.Body != nil || !x.Local() || x.LocalStatus() != tt.status || x.Reason() != tt.reason {
				t.Errorf("%d, length %d, body %v, local %t as %d for %s", r.Status, r.ContentLength, r.Body, x.Local(), x.LocalStatus(), x.Reason())
			}
			if code, ok := x.GRPCStatus(); !ok || code != tt.code {
				t.Errorf("ended with %v, %t", code, ok)
			}
		})
	}
}

func TestOtherRequestsAreAnsweredAsBefore(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"gRPC-Web":   func(r *Request) { r.Header.Set("content-type", "application/grpc-web+proto") },
		"no POST":    func(r *Request) { r.Method = []byte("GET") },
		"other type": func(r *Request) { r.Header.Set("content-type", "application/json") },
	} {
		t.Run(name, func(t *testing.T) {
			x := grpcExchange(HeaderGRPCTimeout, "nonsense")
			change(&x.Request)
			x.Serve(HandlerFunc(func(x *Exchange) error { return x.Reply(503, ReasonNoEndpoint) }))
			if x.Response.Status != 503 || x.Response.Body == nil || x.LocalStatus() != 503 || x.Response.Header.Has(HeaderGRPCStatus) {
				t.Errorf("%d, %v", x.Response.Status, fieldsOf(&x.Response.Header))
			}
			if _, ok := x.GRPCStatus(); ok || x.GRPC() {
				t.Error("it is a gRPC call")
			}
		})
	}
}

func TestAClientThatLeftIsLoggedAsSuch(t *testing.T) {
	x := grpcExchange()
	x.Cancel(ErrClientGone)
	if x.Serve(HandlerFunc(func(*Exchange) error { return errors.New("x") })) {
		t.Error("something is to be sent")
	}
	if code, ok := x.GRPCStatus(); x.Response.Status != StatusClientGone || !ok || code != GRPCCancelled {
		t.Errorf("%d, %v, %t", x.Response.Status, code, ok)
	}
}

func TestServiceAndMethodComeFromThePath(t *testing.T) {
	for path, want := range map[string][2]string{
		"/users.v1.Users/Get": {"users.v1.Users", "Get"}, "/users.v1.Users/Get?x=/y": {"users.v1.Users", "Get"},
		"/a/b/C": {"a/b", "C"}, "/Get": {}, "/": {}, "": {}, "*": {}, "//Get": {}, "/users.v1.Users/": {}, "x/users/Get": {},
	} {
		x := newTestExchange()
		x.Request.Target = []byte(path)
		if s, m := x.GRPCMethod(); [2]string{string(s), string(m)} != want {
			t.Errorf("%q: %q, %q; want %q", path, s, m, want)
		}
	}
}

func TestTheStatusOfACallIsThatOfItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		response func(*Response)
		reason   Reason
		want     GRPCCode
		none     bool
	}{
		"trailer":             {func(r *Response) { r.Trailer.Add("grpc-status", "5") }, "", GRPCNotFound, false},
		"header":              {func(r *Response) { r.Header.Add("Grpc-Status", "14") }, "", GRPCUnavailable, false},
		"trailer over header": {func(r *Response) { r.Header.Add("grpc-status", "0"); r.Trailer.Add("grpc-status", "2") }, "", GRPCUnknown, false},
		"malformed":           {func(r *Response) { r.Trailer.Add("grpc-status", "bad") }, "", GRPCUnknown, false},
		"broke off":           {func(*Response) {}, ReasonUpstreamReset, GRPCUnavailable, false},
		"not gRPC":            {func(r *Response) { r.Status = 404 }, "", GRPCUnimplemented, false},
		"without a status":    {func(*Response) {}, "", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			x := grpcExchange()
			var try GRPCCode
			x.SetTarget(testTarget(TryHandlerFunc(func(a *Attempt) error {
				a.Response.Status = 200
				tt.response(&a.Response)
				try, _ = a.GRPCStatus()
				return nil
			}), nil))
			x.Serve(Router)
			x.SetReason(tt.reason)
			x.End(nil)
			if code, ok := x.GRPCStatus(); ok == tt.none || code != tt.want {
				t.Errorf("%v, %t; want %v", code, ok, tt.want)
			}
			if carried := x.Response.Header.Len()+x.Response.Trailer.Len() > 0; carried && try != tt.want {
				t.Errorf("the attempt has %v", try)
			}
		})
	}
}

func TestAGRPCTimeoutIsADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := grpcExchange(HeaderGRPCTimeout, "250m")
		var d time.Time
		x.SetTarget(testTarget(TryHandlerFunc(func(a *Attempt) error {
			d, _ = a.Exchange().Deadline()
			<-a.Exchange().Context().Done()
			return context.Cause(a.Exchange().Context())
		}), nil))
		if !x.Serve(Router) {
			t.Fatal("nothing is to be sent")
		}
		if code, _ := x.GRPCStatus(); !d.Equal(x.Start.Add(250*time.Millisecond)) || time.Since(x.Start) != 250*time.Millisecond ||
			code != GRPCDeadlineExceeded || x.Reason() != ReasonDeadline {
			t.Errorf("deadline %v after %v; ended with %v, %s", d.Sub(x.Start), time.Since(x.Start), code, x.Reason())
		}
		x.End(nil)
	})
}

func TestAMalformedTimeoutIsRefusedAtTheEndOfTheChain(t *testing.T) {
	x := grpcExchange(HeaderGRPCTimeout, "1s")
	seen := false
	x.SetTarget(testTarget(TryHandlerFunc(func(*Attempt) error { t.Error("it was sent"); return nil }), nil))
	x.Serve(HandlerFunc(func(x *Exchange) error { seen = true; return Router.Serve(x) }))
	if code, _ := x.GRPCStatus(); !seen || code != GRPCInternal || x.Reason() != ReasonBadRequest {
		t.Errorf("seen %t, %v, %s", seen, code, x.Reason())
	}
	if m := string(x.Response.Header.Get("grpc-message")); !strings.Contains(m, "grpc-timeout") {
		t.Errorf("message %q", m)
	}
	x.End(nil)
	x.Reset()
	fillGRPC(x)
	x.SetTarget(testTarget(TryHandlerFunc(func(a *Attempt) error { a.Response.Status = 200; return nil }), nil))
	if x.Serve(Router); x.Reason() != ReasonNone {
		t.Errorf("the next request is refused, too: %s", x.Reason())
	}
	x.End(nil)
}

func TestARequestBecomesAGRPCCall(t *testing.T) {
	x := grpcExchange(HeaderGRPCTimeout, "1S")
	x.Request.Header.Set("content-type", "application/grpc-web")
	x.Serve(HandlerFunc(func(x *Exchange) error {
		if x.GRPC() {
			t.Error("it is one from the beginning")
		}
		x.Request.Header.Set("content-type", "application/grpc")
		x.BecomeGRPC()
		if d, ok := x.Deadline(); !x.GRPC() || !ok || !d.Equal(x.Start.Add(time.Second)) {
			t.Errorf("it is one: %t; deadline %v", x.GRPC(), d)
		}
		return x.Reply(503, ReasonNoEndpoint)
	}))
	if !x.Response.Header.Has(HeaderGRPCStatus) {
		t.Error("it is not answered as one")
	}
	x.End(nil)
}

// endTeller is a transport that wants to know the end.
type endTeller struct{ ends []string }

func (e *endTeller) Try(a *Attempt) error {
	a.Response.Status = 200
	a.Response.Trailer.Add("grpc-status", "14")
	return nil
}

func (e *endTeller) TryDone(a *Attempt) {
	code, _ := a.GRPCStatus()
	e.ends = append(e.ends, code.String())
}

func TestTransportsAreToldTheEndOfGRPCCalls(t *testing.T) {
	var e endTeller
	target := testTarget(&e, nil)
	for _, contentType := range []string{"application/grpc", "text/plain"} {
		x := grpcExchange()
		x.Request.Header.Set("content-type", contentType)
		x.SetTarget(target)
		x.Serve(Router)
		x.End(nil)
	}
	if diff := cmp.Diff([]string{"UNAVAILABLE"}, e.ends); diff != "" {
		t.Error(diff)
	}
}

func TestAllocGRPC(t *testing.T) {
	x := newTestExchange()
	method, target, contentType := []byte("POST"), []byte("/users.v1.Users/Get"), []byte("application/grpc")
	names := [][]byte{[]byte("content-type"), []byte("grpc-timeout"), []byte("grpc-status")}
	timeout, status := []byte("5S"), []byte("0")
	route := testTarget(TryHandlerFunc(func(a *Attempt) error {
		a.Response.Status = 200
		a.Response.Trailer.Append(names[2], status)
		return nil
	}), nil)
	var buf [16]byte
	run := func(local bool) {
		x.Reset()
		x.Start = time.Now()
		x.Request.Method, x.Request.Target = method, target
		x.Request.Header.Append(names[0], contentType)
		x.Request.Header.Append(names[1], timeout)
		x.SetTarget(route)
		x.Serve(Router)
		if local {
			x.served = false
			_ = x.ReplyMessage(503, ReasonNoEndpoint, "nothing is there")
			x.served = true
		}
		x.End(nil)
		if code, ok := x.GRPCStatus(); !ok || (code == GRPCOK) == local {
			t.Fatalf("ended with %v, %t", code, ok)
		}
		if _, m := x.GRPCMethod(); len(m) == 0 {
			t.Fatal("no method")
		}
		AppendGRPCTimeout(buf[:0], 4*time.Second)
	}
	for _, local := range []bool{false, true} {
		run(local)
		if n := testing.AllocsPerRun(100, func() { run(local) }); n != 0 {
			t.Errorf("local answer %t: %v allocations, want none", local, n)
		}
	}
}
