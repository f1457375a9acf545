package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve is an HTTP server on loopback that counts requests.
func serve(t *testing.T, h http.HandlerFunc) (address string, seen *atomic.Int64) {
	t.Helper()
	seen = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), seen
}

// answer writes n bytes with a Content-Length.
func answer(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = w.Write(make([]byte, n))
}

func get(response int) Request {
	return Request{Method: http.MethodGet, Host: "echo", Path: "/x", Response: response}
}

func mustRun(t *testing.T, s Spec) Result {
	t.Helper()
	r, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoopsCountWhatTheServerCounts(t *testing.T) {
	for name, spec := range map[string]Spec{
		"closed": {Mode: Closed, Connections: 8, Duration: 200 * time.Millisecond},
		"open":   {Mode: Open, Connections: 8, Duration: 200 * time.Millisecond, Rate: 500},
	} {
		for size, request := range map[string]Request{
			"get": get(1000),
			// More than one reading, and more than a socket takes at once.
			"large": {Method: http.MethodPost, Host: "echo", Path: "/x", Body: 8 << 20, Response: 3 << 20},
		} {
			t.Run(name+"/"+size, func(t *testing.T) {
				var wrong atomic.Value
				address, seen := serve(t, func(w http.ResponseWriter, r *http.Request) {
					n, err := io.Copy(io.Discard, r.Body)
					if err != nil || n != int64(request.Body) || r.Host != "echo" || r.Method != request.Method || r.URL.Path != "/x" {
						wrong.Store([]any{r.Method, r.URL.Path, r.Host, n, err})
					}
					answer(w, request.Response)
				})
				spec.Address, spec.Request = address, request
				if size == "large" && spec.Mode == Open {
					spec.Rate = 20
				}
				r := mustRun(t, spec)
				if w := wrong.Load(); w != nil {
					t.Errorf("the server got %v", w)
				}
				if r.Errors != 0 || r.Requests == 0 || int64(r.Requests) != seen.Load() {
					t.Errorf("%d requests and %d errors (%q), the server has seen %d", r.Requests, r.Errors, r.First, seen.Load())
				}
				if spec.Mode == Open && r.Requests+r.Unsent != int(spec.Rate*spec.Duration.Seconds()) {
					t.Errorf("%d sent and %d not, of %v/s for %v", r.Requests, r.Unsent, spec.Rate, spec.Duration)
				}
				if l := r.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || r.Elapsed <= 0 {
					t.Errorf("%+v in %v", l, r.Elapsed)
				}
			})
		}
	}
}

func TestWarmupIsNotCounted(t *testing.T) {
	address, seen := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 10) })
	r := mustRun(t, Spec{Mode: Open, Address: address, Request: get(10), Connections: 2, Warmup: 200 * time.Millisecond, Duration: 100 * time.Millisecond, Rate: 100})
	if r.Requests+r.Unsent != 10 || int64(r.Requests) >= seen.Load() {
		t.Errorf("%d requests are counted, the server has seen %d", r.Requests, seen.Load())
	}
}

func TestProcessorTimeIsThatOfTheProcessesNamed(t *testing.T) {
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 10) })
	spec := Spec{Mode: Closed, Address: address, Request: get(10), Connections: 4, Duration: 100 * time.Millisecond, PIDs: []int{os.Getpid()}}
	// Server and generator are one process here.
	if r := mustRun(t, spec); r.CPU <= 0 || r.Own <= 0 {
		t.Errorf("%v of the server, %v of the generator", r.CPU, r.Own)
	}
	spec.PIDs = []int{1 << 22} // above the largest pid that Linux gives
	if _, err := Run(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "has a process ended?") {
		t.Errorf("a process that is not there: %v", err)
	}
}

// The server answers one request only after a while, and the others wait
// behind it. A loop that counts from the sending of each request sees one
// slow request; those that were due meanwhile were slow as well.
func TestOpenLoopCountsTheWaitBehindAStall(t *testing.T) {
	const stall = 500 * time.Millisecond
	var n atomic.Int64
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 20 {
			time.Sleep(stall)
		}
		answer(w, 10)
	})
	r := mustRun(t, Spec{Mode: Open, Address: address, Request: get(10), Connections: 1, Duration: time.Second, Rate: 200})
	if r.Errors > 0 {
		t.Fatal(r.First)
	}
	// 100 of 200 were due in that half second, and waited for what was left of
	// it: half of them for a quarter of a second at least. The machine's own
	// slowness can only add to that.
	if h := quantileOf(r); h < stall/4 {
		t.Errorf("p50..max: %+v: the wait behind the stall is not counted", r.Latency)
	}
	if r.Latency.Max < stall {
		t.Errorf("max %v, the server stalled for %v", r.Latency.Max, stall)
	}
}

// quantileOf is p99, which a single slow request of 200 would not reach by
// much: the two slowest of 200 decide it.
func quantileOf(r Result) time.Duration { return r.Latency.P99 }

func TestUnsentRequestsAreToldAndTheirWaitIsCounted(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { time.AfterFunc(300*time.Millisecond, func() { close(release) }) })
		<-release
		answer(w, 10)
	})
	const d = 200 * time.Millisecond
	r := mustRun(t, Spec{Mode: Open, Address: address, Request: get(10), Connections: 2, Duration: d, Rate: 100})
	if r.Requests != 2 || r.Unsent != 18 {
		t.Errorf("%d requests and %d unsent, expected 2 that the server held until after the end, and 18", r.Requests, r.Unsent)
	}
	if r.Latency.P50 < d/2 {
		t.Errorf("p50 is %v: those that were never sent are left out", r.Latency.P50)
	}
}

// raw is a server that answers each connection's requests with given bytes.
func raw(t *testing.T, respond func(n int, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				in := bufio.NewReader(c)
				for n := 0; ; n++ {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					respond(n, c)
				}
			})
		}
	})
	return l.Addr().String()
}

func TestErrorsAreSeen(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	write := func(text string) func(int, net.Conn) {
		return func(_ int, c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	for name, c := range map[string]struct {
		respond func(int, net.Conn)
		want    string
	}{
		"another status":     {write("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"), "status 503"},
		"another length":     {write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noks"), "a body of 3 bytes, expected 2"},
		"too much":           {write(ok + "!"), "1 bytes after the end"},
		"unasked for":        {func(_ int, c net.Conn) { _, _ = io.WriteString(c, ok); _, _ = io.WriteString(c, ok) }, "bytes"},
		"no length":          {write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "no Content-Length"},
		"negative length":    {write("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n"), "not a Content-Length"},
		"not HTTP":           {write("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "not a status line"},
		"no number":          {write("HTTP/1.1 abc OK\r\n\r\n"), "not a status line"},
		"a head without end": {write(strings.Repeat("x", maxHead+1)), "no end within"},
		"closed":             {func(_ int, c net.Conn) { _ = c.Close() }, "closed the connection"},
		"closed later": {func(n int, c net.Conn) {
			if n == 3 {
				_ = c.Close()
				return
			}
			_, _ = io.WriteString(c, ok)
		}, "closed the connection"},
		"cut off": {func(_ int, c net.Conn) { _, _ = io.WriteString(c, ok[:len(ok)-1]); _ = c.Close() }, "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{Closed, Open} {
				spec := Spec{Mode: mode, Address: raw(t, c.respond), Request: get(2), Connections: 2, Duration: 100 * time.Millisecond}
				if mode == Open {
					spec.Rate = 500
				}
				r := mustRun(t, spec)
				if r.Errors == 0 || !strings.Contains(strings.Join(r.First, "\n"), c.want) || len(r.First) > keptErrors {
					t.Errorf("%s: %d errors: %q; expected one with %q", mode, r.Errors, r.First, c.want)
				}
			}
		})
	}
}

func TestResponsesThatComeInPieces(t *testing.T) {
	address := raw(t, func(_ int, c net.Conn) {
		for _, b := range []byte("HTTP/1.1 200 OK\r\nServer: x\r\nConTent-LengtH:  2 \r\nX: y\r\n\r\nok") {
			_, _ = c.Write([]byte{b})
		}
	})
	r := mustRun(t, Spec{Mode: Closed, Address: address, Request: get(2), Connections: 3, Duration: 100 * time.Millisecond})
	if r.Errors > 0 || r.Requests < 3 {
		t.Errorf("%d requests, %d errors: %q", r.Requests, r.Errors, r.First)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, err = Run(t.Context(), Spec{Mode: Closed, Address: address, Request: get(2), Connections: 3, Duration: time.Second})
	if err == nil || !strings.Contains(err.Error(), "connection 1 of 3") {
		t.Error(err)
	}
}

func TestCancelEndsARun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(cancel)
		answer(w, 2)
	})
	for _, spec := range []Spec{{Mode: Closed}, {Mode: Open, Rate: 100}} {
		spec.Address, spec.Request, spec.Connections, spec.Duration = address, get(2), 3, 5*time.Minute
		if _, err := Run(ctx, spec); err == nil {
			t.Errorf("%s: ran to the end", spec.Mode)
		}
	}
}

func TestSpecsThatCannotBeDone(t *testing.T) {
	good := Spec{Mode: Open, Address: "127.0.0.1:80", Request: get(1), Connections: 1, Duration: time.Second, Rate: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Spec){
		"mode must be":        func(s *Spec) { s.Mode = "both" },
		"rate must be":        func(s *Spec) { s.Rate = 0 },
		"rate is for":         func(s *Spec) { s.Mode = Closed },
		"connections must be": func(s *Spec) { s.Connections = 0 },
		"duration must be":    func(s *Spec) { s.Duration = time.Hour },
		"warmup must be":      func(s *Spec) { s.Warmup = -1 },
		"body must be":        func(s *Spec) { s.Request.Body = -1 },
		"address must be":     func(s *Spec) { s.Address = "localhost:80" },
		"must be IPv4":        func(s *Spec) { s.Address = "[::1]:80" },
	} {
		s := good
		change(&s)
		if _, err := Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; expected %q", err, want)
		}
	}
}

func TestMainSpeaksJSON(t *testing.T) {
	address, seen := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 2) })
	text, err := json.Marshal(Spec{Mode: Closed, Address: address, Request: get(2), Connections: 1, Duration: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Main(t.Context(), bytes.NewReader(text), &out); err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || int64(r.Requests) != seen.Load() {
		t.Errorf("%d requests of %d, %v", r.Requests, seen.Load(), err)
	}
	for _, bad := range []string{"", "{", `{"mod": "closed"}`, `{"mode": "closed"}`} {
		if err := Main(t.Context(), strings.NewReader(bad), io.Discard); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestIdleConnectionsAreHeldUntilTheEndOfInput(t *testing.T) {
	var open atomic.Int64
	var kill sync.Map
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 2) }))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
			kill.Store(c, nil)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	text, err := json.Marshal(Spec{Mode: Idle, Address: s.Listener.Addr().String(), Request: get(2), Connections: 50})
	if err != nil {
		t.Fatal(err)
	}
	in, inWriter := io.Pipe()
	outReader, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Main(t.Context(), in, out) }()
	if _, err := inWriter.Write(text); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(outReader)
	var held Held
	if err := answers.Decode(&held); err != nil || held.Open != 50 || open.Load() != 50 {
		t.Fatalf("%+v, %v; the server has %d open", held, err, open.Load())
	}
	closed := 0
	kill.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close()
		closed++
		return closed < 7
	})
	_ = inWriter.Close()
	if err := answers.Decode(&held); err != nil || held.Lost != 7 {
		t.Errorf("%+v, %v; the server closed 7", held, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionsNeedAnAnswerEach(t *testing.T) {
	address := raw(t, func(_ int, c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno") })
	_, err := Hold(t.Context(), Spec{Mode: Idle, Address: address, Request: get(2), Connections: 3}, func() error { return nil }, nil)
	if err == nil || !strings.Contains(err.Error(), "idle connection 1 of 3: status 503") {
		t.Error(err)
	}
}
