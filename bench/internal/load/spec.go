// Package load is the client side of the benchmark: it sends requests of
// HTTP/1.1, HTTP/2 or gRPC, over TLS or without it, and measures what comes back,
// at as little cost as can be, since it runs on the same machine as what it
// measures.
//
// It is one thread over epoll, with request bytes that are built once and
// parsers that know what they have to check: for HTTP/1.1 a status line and
// Content-Length. The closed loop sends the
// next request of a connection when its response is complete: it finds the
// throughput, and the processor time of a request. The open loop sends at a
// fixed rate, whatever comes back, and counts the latency of each request from
// the moment at which it was due: what a stalled server makes wait is counted as
// waiting (no coordinated omission).
//
// It is meant to run as a process of its own.
package load

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The modes of a Spec.
const (
	Closed = "closed" // as fast as answers come
	Open   = "open"   // at a fixed rate
	Idle   = "idle"   // open connections, one request each, and hold them
	// Pending opens connections of HTTP/2 with Spec.Streams requests each, which
	// nobody answers, and holds them.
	Pending = "pending"
)

// The protocols of a Spec.
const (
	HTTP1 = "" // HTTP/1.1, with keep-alive
	HTTP2 = "http2"
	// GRPC is HTTP/2 with unary calls of gRPC: Request's bodies are messages.
	GRPC = "grpc"
)

// Spec is what to do. It is handed over as JSON.
type Spec struct {
	Mode        string        `json:"mode"`
	Address     string        `json:"address"` // IPv4 host:port
	Request     Request       `json:"request"`
	Protocol    string        `json:"protocol,omitempty"`
	TLS         *TLS          `json:"tls,omitempty"` // nil: none
	Connections int           `json:"connections"`
	Streams     int           `json:"streams,omitempty"` // requests at a time on each connection; 0 is 1, which HTTP/1.1 has
	Warmup      time.Duration `json:"warmup"`            // before what is measured, in the same mode
	Duration    time.Duration `json:"duration"`
	Rate        float64       `json:"rate,omitempty"` // requests a second, of the open loop
	// PIDs are the processes whose processor time is read at both ends of what
	// is measured.
	PIDs []int `json:"pids,omitempty"`
	// Known are processes besides PIDs that belong to the benchmark, such as the
	// backend: what the machine did for anybody else is told in Result.Others.
	Known []int `json:"known,omitempty"`
}

// Request is the request that is repeated, and what its answer has to be.
type Request struct {
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Body     int    `json:"body"`     // bytes of the request's body
	Response int    `json:"response"` // bytes of the response's body
}

// bytes is the request as it is sent. The fields are those that a client
// sends most often.
func (r Request) bytes() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: outrigger-bench\r\nAccept: */*\r\n", r.Method, r.Path, r.Host)
	if r.Body > 0 {
		fmt.Fprintf(&b, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", r.Body)
	}
	b.WriteString("\r\n")
	b.WriteString(strings.Repeat("x", r.Body))
	return []byte(b.String())
}

// The bounds of a Spec: more is a mistake, not a benchmark.
const (
	maxConnections = 100_000
	maxStreams     = 1000      // on a connection
	maxSlots       = 1_000_000 // on all of them
	maxDuration    = 10 * time.Minute
	maxRate        = 10_000_000
	maxBody        = 64 << 20
)

// Validate says what of the spec cannot be done.
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("load: "+format, args...)) }
	switch s.Mode {
	case Closed, Idle, Pending:
		if s.Rate != 0 {
			bad("rate is for the open loop alone")
		}
	case Open:
		if !(s.Rate > 0 && s.Rate <= maxRate) {
			bad("rate must be above 0 and at most %d, is %v", maxRate, s.Rate)
		}
	default:
		bad("mode must be %s, %s, %s or %s, is %q", Closed, Open, Idle, Pending, s.Mode)
	}
	switch s.Protocol {
	case HTTP1:
		if s.Streams > 1 || s.Mode == Pending {
			bad("streams and the mode %s are for HTTP/2 alone", Pending)
		}
	case HTTP2, GRPC:
	default:
		bad("protocol must be empty, %s or %s, is %q", HTTP2, GRPC, s.Protocol)
	}
	if s.Streams < 0 || s.Streams > maxStreams || s.Streams*s.Connections > maxSlots {
		bad("streams must be from 0 to %d, and %d on all connections, are %d on %d", maxStreams, maxSlots, s.Streams, s.Connections)
	}
	if s.Connections < 1 || s.Connections > maxConnections {
		bad("connections must be from 1 to %d, is %d", maxConnections, s.Connections)
	}
	if s.Mode != Idle && s.Mode != Pending && (s.Duration <= 0 || s.Duration > maxDuration) {
		bad("duration must be above 0 and at most %v, is %v", maxDuration, s.Duration)
	}
	if s.Warmup < 0 || s.Warmup > maxDuration {
		bad("warmup must be from 0 to %v, is %v", maxDuration, s.Warmup)
	}
	if s.Request.Body < 0 || s.Request.Body > maxBody {
		bad("request.body must be from 0 to %d bytes, is %d", maxBody, s.Request.Body)
	}
	return errors.Join(errs...)
}

// slots is how many requests are under way at a time.
func (s Spec) slots() int { return s.Connections * max(s.Streams, 1) }

// Result is what was seen between the two ends of what is measured.
type Result struct {
	Requests int           `json:"requests"` // answered as expected
	Elapsed  time.Duration `json:"elapsed"`  // from the first request sent to the last response read
	Latency  Latency       `json:"latency"`
	// Unsent is how many requests were due in the open loop and could not be
	// sent before its end, since all connections waited. Their waiting until then
	// is in Latency, which is too low for them: the server cannot hold the rate.
	Unsent int `json:"unsent,omitempty"`

	CPU   time.Duration `json:"cpu"`   // of Spec.PIDs, user and system
	Ticks time.Duration `json:"ticks"` // the same from /proc/PID/stat, cut to ticks of 10 ms
	// Own is the processor time of the load generator itself.
	Own time.Duration `json:"own"`
	// Others is the share of the machine's processors (0 to 1) that went to
	// processes that do not belong to the benchmark: the noise.
	Others float64 `json:"others"`

	Errors int      `json:"errors,omitempty"`
	First  []string `json:"first,omitempty"` // the first few errors
}

// Latency is quantiles of the time from when a request was due to its
// response's last byte.
type Latency struct {
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	Max  time.Duration `json:"max"`
}
