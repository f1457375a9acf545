package hop

import (
	"fmt"
	"slices"
)

const (
	sidecar      = "sidecar"
	sidecarChain = "sidecar-chain"
)

// Target is a figure that the sidecar is to have. Less is better in all.
type Target struct {
	Name    string
	Unit    string // written after the figure
	Target  float64
	Stretch float64 // 0: there is none
	// figure is what a report says; ok is false where it was not measured.
	figure func(*Report) (value float64, ok bool)
}

// Targets are what a sidecar has to reach to stand in every call. Ratios are
// medians over rounds of the sidecar's figure divided by that of bare nginx, or
// of HAProxy with HTTP/2.
func Targets() []Target {
	cpu := func(s *Summary) Figure { return s.CPU }
	p99 := func(s *Summary) Figure { return s.P99 }
	const mega = 1e6
	return []Target{
		{"bare hop, get-1k, CPU per request", "× nginx", 1.20, 1.05, ratio(sidecar, "get-1k", cpu)},
		{"default chain, get-1k, CPU per request", "× nginx", 1.50, 1.25, ratio(sidecarChain, "get-1k", cpu)},
		{"bare hop, get-64k, CPU per request", "× nginx", 1.00, 0.90, ratio(sidecar, "get-64k", cpu)},
		{"bare hop, get-1k, p99 at half load", "× nginx", 1.00, 0, ratio(sidecar, "get-1k", p99)},
		{"bare hop, gRPC, CPU per request", "× haproxy", 2.00, 1.20, ratio(sidecar, "grpc", cpu)},
		{"bare hop, HTTP/1.1 over TLS, CPU per request", "× nginx", 1.20, 0, ratio(sidecar, "tls1", cpu)},
		{"resident memory, idle", "MB", 20, 15, memory(func(m *MemoryReport) float64 { return float64(m.Idle.RSS) / mega })},
		{"resident memory per idle connection", "KiB", 6, 4, memory(func(m *MemoryReport) float64 { return m.PerConnection / kib })},
	}
}

func ratio(peer, of string, get func(*Summary) Figure) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		i := slices.IndexFunc(r.Summary, func(s Summary) bool { return s.Peer == peer && s.Case == of })
		if i < 0 || get(&r.Summary[i]).Rounds == 0 {
			return 0, false
		}
		return get(&r.Summary[i]).Ratio.Median, true
	}
}

func memory(get func(*MemoryReport) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		i := slices.IndexFunc(r.Memory, func(m MemoryReport) bool { return m.Peer == sidecar && m.Streams == 0 })
		if i < 0 {
			return 0, false
		}
		return get(&r.Memory[i]), true
	}
}

// The verdicts on a target.
const (
	verdictMet         = "met"
	verdictMissed      = "not met"
	verdictStretch     = "stretch met"
	verdictNotMeasured = "not measured"
)

// TargetReport is a target and what became of it.
type TargetReport struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Target  float64 `json:"target"`
	Stretch float64 `json:"stretch,omitempty"`
	Value   float64 `json:"value"`
	Verdict string  `json:"verdict"`
}

// judge compares a report with the targets.
func judge(r *Report) []TargetReport {
	var all []TargetReport
	for _, t := range Targets() {
		value, ok := t.figure(r)
		verdict := verdictMissed
		switch {
		case !ok:
			verdict = verdictNotMeasured
		case t.Stretch > 0 && value <= t.Stretch:
			verdict = verdictStretch
		case value <= t.Target:
			verdict = verdictMet
		}
		all = append(all, TargetReport{Name: t.Name, Unit: t.Unit, Target: t.Target, Stretch: t.Stretch, Value: value, Verdict: verdict})
	}
	return all
}

// text is the target's figures for people.
func (t TargetReport) text() (target, stretch, value string) {
	one := func(v float64) string { return fmt.Sprintf("%.2f %s", v, t.Unit) }
	stretch, value = "-", "-"
	if t.Stretch > 0 {
		stretch = one(t.Stretch)
	}
	if t.Verdict != verdictNotMeasured {
		value = one(t.Value)
	}
	return one(t.Target), stretch, value
}
