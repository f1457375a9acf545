package hop

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

// closedTurn took cpu µs a request, at 1000 requests/s.
func closedTurn(peer, of string, round int, cpu float64) Turn {
	const n = 1000
	return Turn{Measure: Throughput, Case: of, Round: round, Peer: peer, Result: load.Result{
		Requests: n, Elapsed: time.Second, CPU: time.Duration(cpu * n * float64(time.Microsecond)),
	}}
}

func openTurn(peer, of string, round int, p99 time.Duration, unsent int) Turn {
	return Turn{Measure: Latency, Case: of, Round: round, Peer: peer, Rate: 500, Result: load.Result{
		Requests: 1000, Elapsed: 2 * time.Second, Unsent: unsent, Latency: load.Latency{P50: p99 / 10, P99: p99, P999: 2 * p99},
	}}
}

// sample is a report of three peers in two cases; the chain's turns in get-64k
// and one of the sidecar's failed.
func sample() *Report {
	failed := closedTurn(sidecar, "get-1k", 2, 1)
	failed.Failure = "1 errors"
	broken := closedTurn(sidecarChain, "get-64k", 0, 1)
	broken.Failure = "it has ended"
	r := &Report{
		Settings: Settings{Rounds: 3, Duration: 2 * time.Second, Connections: 64},
		Peers:    []PeerInfo{{base, "bare", "1"}, {sidecar, "bare", "2"}, {sidecarChain, "chain", "2"}},
		Turns: []Turn{
			closedTurn(base, "get-1k", 0, 10), closedTurn(sidecar, "get-1k", 0, 11), closedTurn(sidecarChain, "get-1k", 0, 16),
			closedTurn(base, "get-1k", 1, 20), closedTurn(sidecar, "get-1k", 1, 23), closedTurn(sidecarChain, "get-1k", 1, 32),
			closedTurn(base, "get-1k", 2, 10), failed, closedTurn(sidecarChain, "get-1k", 2, 15),
			closedTurn(base, "get-64k", 0, 30), closedTurn(sidecar, "get-64k", 0, 25.5), broken,
			{Measure: calibration, Case: "get-1k", Peer: base, Result: load.Result{Requests: 7, CPU: time.Hour}},
			openTurn(base, "get-1k", 0, 900*time.Microsecond, 0), openTurn(sidecar, "get-1k", 0, 1200*time.Microsecond, 0),
			openTurn(sidecarChain, "get-1k", 0, 5*time.Millisecond, 100),
		},
		Memory: []MemoryReport{
			{Peer: base, Idle: procfs.Memory{RSS: 9e6}},
			{Peer: sidecar, Idle: procfs.Memory{RSS: 16e6, PSS: 15e6}, After: &procfs.Memory{RSS: 30e6}, Connections: 10_000, PerConnection: 4096},
		},
		Failures: []string{"one\ttwo\nthree"},
	}
	r.Summary = summarize(Cases(), r.Peers, r.Turns)
	r.Targets = judge(r)
	return r
}

func TestSummaryIsOfTheTurnsThatCount(t *testing.T) {
	find := func(r *Report, of, peer string) Summary {
		for _, s := range r.Summary {
			if s.Case == of && s.Peer == peer {
				return s
			}
		}
		t.Fatalf("no summary of %s in %s", peer, of)
		return Summary{}
	}
	r := sample()
	same := Spread{1, 1, 1}
	got := find(r, "get-1k", sidecar)
	if diff := cmp.Diff(Figure{Absolute: Spread{17, 11, 23}, Ratio: Spread{1.125, 1.1, 1.15}, Rounds: 2}, round(got.CPU)); diff != "" {
		t.Errorf("processor time of %s: %s", sidecar, diff)
	}
	if got.PerSecond.Ratio != same || got.Rate != 500 || got.Saturated != 0 {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(Spread{1200, 1200, 1200}, got.P99.Absolute); diff != "" {
		t.Errorf("p99 in µs: %s", diff)
	}
	if n := find(r, "get-1k", base); n.CPU.Ratio != same || n.P999.Ratio != same {
		t.Errorf("nginx to itself: %+v", n)
	}
	if c := find(r, "get-1k", sidecarChain); c.Saturated != 1 {
		t.Errorf("100 of 1100 were not sent, and the summary says %d rounds", c.Saturated)
	}
	if b := find(r, "get-64k", sidecarChain); b.CPU.Rounds != 0 {
		t.Errorf("a turn that failed counts: %+v", b.CPU)
	}
}

// round cuts what floating point adds.
func round(f Figure) Figure {
	for _, s := range []*Spread{&f.Absolute, &f.Ratio} {
		for _, v := range []*float64{&s.Median, &s.Min, &s.Max} {
			*v = float64(int(*v*1e6+0.5)) / 1e6
		}
	}
	return f
}

func TestTargetsAreJudgedByMedians(t *testing.T) {
	var got []string
	for _, j := range sample().Targets {
		got = append(got, j.Verdict)
	}
	want := []string{
		verdictMet,     // 1.125 of at most 1.20, 1.05
		verdictMissed,  // 1.6 of 1.50
		verdictStretch, // 0.85 of 1.00, 0.90
		verdictMissed,  // 1.33 of 1.00
		verdictNotMeasured,
		verdictNotMeasured,
		verdictMet,     // 16 MB of 20, 15
		verdictStretch, // 4 KiB of 6, 4
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, j := range judge(&Report{}) {
		if j.Verdict != verdictNotMeasured {
			t.Errorf("nothing was measured, and %s is %s", j.Name, j.Verdict)
		}
	}
}

func TestTableSaysAllOfIt(t *testing.T) {
	var b strings.Builder
	if err := sample().Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"3 rounds of 2s, 64 connections",
		"get-1k: GET, 1 KiB back, as fast as it goes",
		"1.12     1.10..1.15",
		"get-1k: latency in µs at 500 requests/s",
		"did not hold the rate in 1 rounds",
		"sidecar-chain  no turn counts",
		"16.0 (15.0)  30.0 (0.0)",
		"stretch met", "not met",
		"failures\n  one two\n    three\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in it", want)
		}
	}
	if strings.Contains(b.String(), "post-1k") {
		t.Error("a case that was not measured is in it")
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

func TestJSONHasEveryTurn(t *testing.T) {
	r := sample()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Error(diff)
	}
}

func TestTurnsWithoutRequestsHaveNoFigures(t *testing.T) {
	if t0 := (&Turn{}); t0.cpuMicros() != 0 || t0.perSecond() != 0 || t0.saturated() {
		t.Error("figures out of nothing")
	}
}
