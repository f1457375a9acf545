// Package load is the client side of the benchmark: it sends HTTP/1.1 requests
// over keep-alive connections and measures what comes back, at as little cost as
// can be, since it runs on the same machine as what it measures.
//
// It is one thread over epoll, with request bytes that are built once and a
// parser that knows a status line and Content-Length. The closed loop sends the
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
)

// Spec is what to do. It is handed over as JSON.
type Spec struct {
	Mode        string        `json:"mode"`
	Address     string        `json:"address"` // IPv4 host:port
	Request     Request       `json:"request"`
	Connections int           `json:"connections"`
	Warmup      time.Duration `json:"warmup"` // before what is measured, in the same mode
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
	maxDuration    = 10 * time.Minute
	maxRate        = 10_000_000
	maxBody        = 64 << 20
)

// Validate says what of the spec cannot be done.
func (s Spec) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("load: "+format, args...)) }
	switch s.Mode {
	case Closed, Idle:
		if s.Rate != 0 {
			bad("rate is for the open loop alone")
		}
	case Open:
		if !(s.Rate > 0 && s.Rate <= maxRate) {
			bad("rate must be above 0 and at most %d, is %v", maxRate, s.Rate)
		}
	default:
		bad("mode must be %s, %s or %s, is %q", Closed, Open, Idle, s.Mode)
	}
	if s.Connections < 1 || s.Connections > maxConnections {
		bad("connections must be from 1 to %d, is %d", maxConnections, s.Connections)
	}
	if s.Mode != Idle && (s.Duration <= 0 || s.Duration > maxDuration) {
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
