package hop

import (
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

// Report is all of a run: where and how it was made, each turn as it was
// measured, and what follows from them.
type Report struct {
	Started     time.Time      `json:"started"`
	Took        time.Duration  `json:"took"`
	Environment Environment    `json:"environment"`
	Settings    Settings       `json:"settings"`
	Peers       []PeerInfo     `json:"peers"`
	Turns       []Turn         `json:"turns"`
	Memory      []MemoryReport `json:"memory"`
	Summary     []Summary      `json:"summary"`
	Targets     []TargetReport `json:"targets"`
	// Failures are what did not run as it should: with one, the run is not valid.
	Failures []string `json:"failures"`
	// Notes are what a reader has to know besides.
	Notes []string `json:"notes"`
}

// Settings are the options that decide what figures mean.
type Settings struct {
	Rounds      int           `json:"rounds"`
	Duration    time.Duration `json:"duration"`
	Warmup      time.Duration `json:"warmup"`
	Connections int           `json:"connections"`
	Idle        int           `json:"idle"`
}

// PeerInfo is who took part.
type PeerInfo struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Version string `json:"version"`
}

// Turn is one measurement: a peer, for a few seconds.
type Turn struct {
	Measure string  `json:"measure"` // Throughput or Latency
	Case    string  `json:"case"`
	Round   int     `json:"round"` // from 0
	Peer    string  `json:"peer"`
	Rate    float64 `json:"rate,omitempty"` // requests/s that were asked for
	load.Result
	Failure string `json:"failure,omitempty"` // why it does not count
}

// perSecond is the turn's requests/s.
func (t *Turn) perSecond() float64 {
	if t.Elapsed <= 0 {
		return 0
	}
	return float64(t.Requests) / t.Elapsed.Seconds()
}

// cpuMicros is the peer's processor time per request, in µs.
func (t *Turn) cpuMicros() float64 {
	if t.Requests == 0 {
		return 0
	}
	return float64(t.CPU) / float64(time.Microsecond) / float64(t.Requests)
}

// saturated tells whether the peer could not hold the rate: a hundredth of
// what was due could not even be sent.
func (t *Turn) saturated() bool {
	return t.Unsent*100 > t.Requests+t.Unsent
}

// Summary is a peer in a case. Latencies are in µs, at Rate.
type Summary struct {
	Case      string  `json:"case"`
	Peer      string  `json:"peer"`
	Base      string  `json:"base"` // the peer that ratios are to
	CPU       Figure  `json:"cpu_us"`
	PerSecond Figure  `json:"per_second"`
	Rate      float64 `json:"rate"`
	P50       Figure  `json:"p50_us"`
	P99       Figure  `json:"p99_us"`
	P999      Figure  `json:"p999_us"`
	Saturated int     `json:"saturated"` // rounds in which it did not hold the rate
}

// MemoryReport is a peer's resident memory.
type MemoryReport struct {
	Peer  string         `json:"peer"`
	Setup peer.Setup     `json:"setup"`
	Idle  procfs.Memory  `json:"idle"`            // started, and asked once
	After *procfs.Memory `json:"after,omitempty"` // after all turns
	Held  procfs.Memory  `json:"held"`            // with Connections open
	// Connections are those that were opened, each with one request; or with
	// Streams of them, which the backend did not answer.
	Connections int `json:"connections"`
	Streams     int `json:"streams,omitempty"`
	// PerConnection is (Held-Idle)/Connections of resident memory in bytes;
	// PerConnectionPSS is the same of proportional memory.
	PerConnection    float64 `json:"per_connection"`
	PerConnectionPSS float64 `json:"per_connection_pss"`
	Settled          bool    `json:"settled"` // it had come to rest when it was read
}
