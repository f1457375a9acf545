package answerer

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/internal/run"
)

// start runs a backend until the test ends.
func start(t *testing.T, o options) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func client(t *testing.T) *http.Transport {
	t.Helper()
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// got is one answer.
type got struct {
	status     int
	body, tail string // tail is its grpc-status
}

func ask(t *testing.T, tr *http.Transport, address string, body int) (got, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/x", bytes.NewReader(make([]byte, body)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return got{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return got{resp.StatusCode, string(text), resp.Trailer.Get("Grpc-Status")}, err
}

func TestManyRequestsOfAnotherImplementationAreAnswered(t *testing.T) {
	for _, tt := range []struct {
		o    options
		body string
		tail string
	}{
		{options{kind: HTTP, response: 1024}, strings.Repeat("x", 1024), ""},
		{options{kind: GRPC, request: 20, response: 3}, "\x00\x00\x00\x00\x03xxx", "0"},
	} {
		t.Run(tt.o.kind, func(t *testing.T) {
			address, tr := start(t, tt.o), client(t)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					for range 50 { // more than the client's window holds
						if g, err := ask(t, tr, address, tt.o.request); err != nil || g != (got{200, tt.body, tt.tail}) {
							t.Errorf("%+v, %v", g, err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func TestARequestOfAnotherSizeIsNotAnswered(t *testing.T) {
	address, tr := start(t, options{kind: HTTP, request: 10, response: 1}), client(t)
	if g, err := ask(t, tr, address, 11); err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := ask(t, tr, address, 10); err != nil {
		t.Error(err)
	}
}

func TestAnswersWaitForTheWindow(t *testing.T) {
	address := start(t, options{kind: HTTP, response: 16_000})
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(nc, http2.ClientPreface)
	f := http2.NewFramer(nc, nc)
	_ = f.WriteSettings()
	for i := range 6 {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: []byte{0x82}, EndHeaders: true, EndStream: true})
	}
	answers := func(want int) {
		t.Helper()
		for got := 0; got < want; {
			fr, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := fr.(*http2.DataFrame); ok && d.StreamEnded() {
				got++
			}
		}
	}
	answers(4) // of 16,000 bytes each in a window of 65,535
	_ = f.WritePing(false, [8]byte{})
	for pong := false; !pong; {
		fr, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := fr.(*http2.DataFrame); ok {
			t.Fatalf("%d bytes that there is no room for", d.Length)
		}
		_, pong = fr.(*http2.PingFrame)
	}
	_ = f.WriteWindowUpdate(0, 100_000)
	answers(2)
}

func TestHoldAnswersNothing(t *testing.T) {
	address := start(t, options{kind: Hold})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82",
	} {
		nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, request)
		_ = nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		got, err := io.ReadAll(nc)
		if err == nil {
			t.Error("the connection was closed")
		}
		if bytes.Contains(got, binary.BigEndian.AppendUint32([]byte{0x1, h2EndHeaders}, 1)) || strings.Contains(string(got), "HTTP/1.1") {
			t.Errorf("it answered %q", got)
		}
		nc.Close()
	}
}

// h2EndHeaders is the flags of the head of an answer with a body.
const h2EndHeaders = 0x4

func TestArgumentsThatAreWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"-listen is needed":  nil,
		"-kind must be":      {"-listen", "127.0.0.1:0", "-kind", "x"},
		"-response from":     {"-listen", "127.0.0.1:0", "-response", "16384"},
		"provided but not":   {"-port", "1"},
		"-request must be":   {"-listen", "127.0.0.1:0", "-request", "-1"},
		"invalid value":      {"-request", "x"},
		"flag needs an argu": {"-listen"},
	} {
		if err := Main(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) || run.ExitCode(err) != 2 {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if err := Main(t.Context(), []string{"-listen", "256.0.0.1:1"}); err == nil {
		t.Error("it listens on what is no address")
	}
}
