package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSIGTERMFailsNoStream is TestSIGTERMFailsNoRequest for HTTP/2: streams that
// are under way are finished, clients are told by GOAWAY, which comes early
// enough that no request that they have sent by then is lost, and the program
// ends by itself, with 0.
func TestSIGTERMFailsNoStream(t *testing.T) {
	t.Parallel()
	var begun atomic.Int64
	app := livingApp(t, &begun)
	p := startProgram(t, fmt.Sprintf(programYAML, app, app, "300ms", "20s"))
	var wg sync.WaitGroup
	inFlight, kept := int64(0), []*rawH2{}
	for _, listener := range []string{"listen.inbound", "listen.outbound"} {
		address := p.at[listener]
		tr := transportH2(t, address, nil)
		ask := func(method, path string, body io.Reader, want string) {
			inFlight++
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, method, "http://app"+path, body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Errorf("%s: in flight: %v", listener, err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != want || resp.StatusCode != http.StatusOK {
					t.Errorf("%s: in flight: got %s %q, %v, want %q", listener, resp.Status, got, err, want)
				}
			})
		}
		var all strings.Builder
		for i := range pieces {
			_, _ = fmt.Fprintf(&all, "piece %d\n", i)
		}
		for range 5 {
			ask("GET", "/slow", http.NoBody, "slow")
			ask("GET", "/stream", http.NoBody, all.String())
		}
		r, w := io.Pipe()
		ask("POST", "/upload", r, fmt.Sprintf("%d bytes <nil>", 5*pieces))
		wg.Go(func() {
			for range pieces {
				_, _ = io.WriteString(w, "piece")
				time.Sleep(50 * time.Millisecond) // an upload that takes as long as the rest
			}
			_ = w.Close()
		})
		// Kept connections, always busy, until they are told to go.
		for range 5 {
			c := dialH2(t, address)
			kept = append(kept, c)
			wg.Go(func() { c.busy(t) })
		}
	}
	eventually(t, "all are in flight", func() bool { return begun.Load() == inFlight })
	p.terminate(t)
	wg.Wait()
	p.wantExit(t)
	for _, c := range kept {
		if !c.awaitEnd() {
			t.Error("a kept connection was not closed")
		}
	}
}

// busy sends requests until it is told to go, and wants all of them answered.
func (c *rawH2) busy(t *testing.T) {
	n := 0
	for {
		c.headers(stream(n), true, ":method", "GET", ":scheme", "http", ":authority", "app", ":path", "/quick")
		n++
		if !c.flush() {
			break
		}
		told := c.until(10*time.Millisecond, func(events []string, _ bool) bool {
			for _, e := range events {
				if strings.HasPrefix(e, "GOAWAY") {
					return true
				}
			}
			return false
		})
		if _, ended := c.seen(); told || ended {
			break
		}
	}
	for i := range n {
		if !c.await(fmt.Sprintf("END %d", stream(i))) || !c.await(fmt.Sprintf("HEADERS %d 200", stream(i))) {
			events, _ := c.seen()
			t.Errorf("request %d of %d on a kept connection was not answered: … %s", i+1, n, brief(events[max(0, len(events)-10):]))
			return
		}
	}
	if events, _ := c.seen(); !slices.Contains(events, "GOAWAY NO_ERROR") {
		t.Errorf("a kept connection was not told to go")
	}
}
