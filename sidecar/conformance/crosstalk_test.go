package conformance

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crossTalkFor is how long everybody talks.
const crossTalkFor = 4 * time.Second

// moody is an app that answers a request with nothing but the request's own
// mark, many times over, in a manner that the request asks for.
func moody(t *testing.T) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mark := r.Header.Get("X-Mark")
		manner := r.Header.Get("X-Manner")
		if manner != "early" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			if strings.ReplaceAll(string(body), mark, "") != "" {
				http.Error(w, fmt.Sprintf("the body of %s is of another: %.200q", mark, body), http.StatusTeapot)
				return
			}
		}
		w.Header().Set("X-Mark", mark)
		answer := strings.Repeat(mark, 1+len(mark)%7)
		switch manner {
		case "large":
			answer = strings.Repeat(mark, 100_000/len(mark))
		case "pieces":
			for range 5 {
				_, _ = io.WriteString(w, mark)
				_ = http.NewResponseController(w).Flush()
			}
		case "breaks":
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, answer)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "gone":
			panic(http.ErrAbortHandler)
		case "late":
			time.Sleep(5 * time.Millisecond)
		case "last":
			w.Header().Set("Connection", "close")
		case "trailer":
			w.Header().Set("Trailer", "X-End")
			defer func() { w.Header().Set("X-End", mark) }()
		case "none":
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

var manners = []string{"plain", "large", "pieces", "breaks", "gone", "late", "last", "trailer", "none", "early"}

// TestAnswersAreOnesOwn: clients and an app that send, break off and go away as
// they please, in all ways that HTTP/1.1 has, on connections and buffers that are
// used again and again: each byte of each answer, and of each request, is of
// the request that it belongs to.
func TestAnswersAreOnesOwn(t *testing.T) {
	address := twoSidecars(t, moody(t), "[requestid, metrics, tracing, timeout, retry]")
	var answers, whole atomic.Int64
	end := time.Now().Add(crossTalkFor)
	var wg sync.WaitGroup
	for worker := range 24 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
				talk(t, address, fmt.Sprintf("<%d.%d>", worker, n), random, &answers, &whole)
			}
		})
	}
	wg.Wait()
	if whole.Load() < 200 {
		t.Errorf("%d whole answers: nobody has talked", whole.Load())
	}
	t.Logf("%d answers, %d of them whole", answers.Load(), whole.Load())
}

// talk is some requests on one connection.
func talk(t *testing.T, address, mark string, random *rand.Rand, answers, whole *atomic.Int64) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(nc)
	for round := range 1 + random.IntN(8) {
		var methods, marks []string
		var out strings.Builder
		for i := range 1 + random.IntN(3) { // pipelined
			m := fmt.Sprintf("%s%d.%d|", mark, round, i)
			method := []string{"GET", "GET", "HEAD", "POST", "PUT"}[random.IntN(5)]
			_, _ = fmt.Fprintf(&out, "%s /%d HTTP/1.1\r\nHost: app\r\nX-Mark: %s\r\nX-Manner: %s\r\n", method, i, m, manners[random.IntN(len(manners))])
			body := ""
			if method[0] == 'P' {
				body = strings.Repeat(m, random.IntN(2000))
			}
			switch {
			case body != "" && random.IntN(2) == 0:
				half := len(body) / len(m) / 2 * len(m)
				_, _ = fmt.Fprintf(&out, "Transfer-Encoding: chunked\r\n\r\n")
				for _, piece := range []string{body[:half], body[half:]} {
					if piece != "" {
						_, _ = fmt.Fprintf(&out, "%x\r\n%s\r\n", len(piece), piece)
					}
				}
				out.WriteString("0\r\n\r\n")
			default:
				_, _ = fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(body), body)
			}
			methods, marks = append(methods, method), append(marks, m)
		}
		all := out.String()
		if random.IntN(6) == 0 {
			all = all[:random.IntN(len(all))] // and then it goes
		}
		_, _ = io.WriteString(nc, all)
		if len(all) < out.Len() && random.IntN(2) == 0 {
			return
		}
		if len(all) < out.Len() {
			_ = nc.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it was dialed as one
		}
		for i := range methods {
			if random.IntN(20) == 0 {
				return // amid the answer
			}
			if !own(t, in, methods[i], marks[i], answers, whole) {
				return
			}
		}
	}
}

// own reads an answer and looks at whose it is; it reports whether another one
// can follow.
func own(t *testing.T, in *bufio.Reader, method, mark string, answers, whole *atomic.Int64) bool {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	answers.Add(1)
	body, err := io.ReadAll(resp.Body)
	theirs := resp.Header.Get("X-Mark")
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		rest := strings.ReplaceAll(string(body), mark, "")
		if err != nil && strings.HasPrefix(mark, rest) { // it broke off, perhaps amid a mark
			rest = ""
		}
		if theirs != mark || rest != "" || resp.Trailer.Get("X-End") != "" && resp.Trailer.Get("X-End") != mark {
			t.Errorf("the answer to %s is of %s: %.200q, %v, trailers %v", mark, theirs, body, err, resp.Trailer)
		}
		if err == nil {
			whole.Add(1)
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusBadRequest: // the app, or this client, broke off
		if theirs != "" {
			t.Errorf("a local answer to %s has fields of %s", mark, theirs)
		}
	default:
		t.Errorf("%s got %d: %.300s", mark, resp.StatusCode, body)
	}
	return err == nil && !resp.Close
}
