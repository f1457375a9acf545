package hop

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	e, s := r.Environment, r.Settings
	t.line("One hop, side by side: %d rounds of %v, %d connections; %s, took %v",
		s.Rounds, s.Duration, s.Connections, r.Started.Format(time.RFC3339), r.Took.Round(time.Second))
	t.line("%d cores, %s; Linux %s; %s; %s", e.Cores, e.CPU, e.Kernel, e.OS, e.Go)
	t.line("")
	for _, p := range r.Peers {
		t.line("  %s\t%s\t%s", p.Name, p.Version, p.What)
	}
	for _, c := range Cases() {
		of := slices.DeleteFunc(slices.Clone(r.Summary), func(s Summary) bool { return s.Case != c.Name })
		t.throughput(c, of)
		t.latency(c, of)
	}
	for _, streams := range []bool{false, true} {
		t.memory(slices.DeleteFunc(slices.Clone(r.Memory), func(m MemoryReport) bool { return m.Streams > 0 != streams }))
	}
	t.targets(r.Targets)
	t.list("notes", r.Notes)
	t.list("failures", r.Failures)
	return t.w.Flush()
}

// table is lines whose tabs are columns. A line without one ends the columns
// of those before it.
type table struct{ w *tabwriter.Writer }

func (t *table) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

func (t *table) head(format string, args ...any) {
	t.line("")
	t.line(format, args...)
}

func (t *table) throughput(c Case, all []Summary) {
	if !slices.ContainsFunc(all, func(s Summary) bool { return s.CPU.Rounds > 0 }) {
		return
	}
	t.head("%s: %s, as fast as it goes", c.Name, c.What)
	t.line("  peer\tCPU µs/request\t× %[1]s\tmin..max\trequests/s\t× %[1]s\tmin..max", c.Base)
	for _, s := range all {
		if s.CPU.Rounds == 0 {
			t.line("  %s\tno turn counts", s.Peer)
			continue
		}
		t.line("  %s\t%.2f\t%s\t%.0f\t%s", s.Peer, s.CPU.Absolute.Median, cells(s.CPU), s.PerSecond.Absolute.Median, cells(s.PerSecond))
	}
}

// cells are a ratio's median and range.
func cells(f Figure) string {
	return fmt.Sprintf("%.2f\t%.2f..%.2f", f.Ratio.Median, f.Ratio.Min, f.Ratio.Max)
}

func (t *table) latency(c Case, all []Summary) {
	i := slices.IndexFunc(all, func(s Summary) bool { return s.P99.Rounds > 0 })
	if i < 0 {
		return
	}
	t.head("%s: latency in µs at %.0f requests/s, half of what %s reached", c.Name, all[i].Rate, c.Base)
	t.line("  peer\tp50\t× %[1]s\tmin..max\tp99\t× %[1]s\tmin..max\tp99.9\t× %[1]s\tmin..max", c.Base)
	for _, s := range all {
		if s.P99.Rounds == 0 {
			t.line("  %s\tno turn counts", s.Peer)
			continue
		}
		note := ""
		if s.Saturated > 0 {
			note = fmt.Sprintf("\tdid not hold the rate in %d rounds", s.Saturated)
		}
		t.line("  %s\t%.0f\t%s\t%.0f\t%s\t%.0f\t%s%s", s.Peer, s.P50.Absolute.Median, cells(s.P50),
			s.P99.Absolute.Median, cells(s.P99), s.P999.Absolute.Median, cells(s.P999), note)
	}
}

func (t *table) memory(all []MemoryReport) {
	if len(all) == 0 {
		return
	}
	what := fmt.Sprintf("per idle connection in KiB, over %d of them", all[0].Connections)
	if n := all[0].Streams; n > 0 {
		what = fmt.Sprintf("per connection of HTTP/2 with %d requests that wait in KiB, over %d of them", n, all[0].Connections)
	}
	t.head("memory: resident (proportional) in MB; %s", what)
	t.line("  peer\tidle\tafter the run\twith connections\tper connection")
	for _, m := range all {
		after := "-"
		if m.After != nil {
			after = megabytes(*m.After)
		}
		t.line("  %s\t%s\t%s\t%s\t%.2f (%.2f)", m.Peer, megabytes(m.Idle), after, megabytes(m.Held), m.PerConnection/kib, m.PerConnectionPSS/kib)
	}
}

func megabytes(m procfs.Memory) string {
	return fmt.Sprintf("%.1f (%.1f)", float64(m.RSS)/1e6, float64(m.PSS)/1e6)
}

func (t *table) targets(all []TargetReport) {
	t.head("targets")
	t.line("  \ttarget\tstretch\tmeasured\t")
	for _, r := range all {
		target, stretch, value := r.text()
		t.line("  %s\t≤ %s\t%s\t%s\t%s", r.Name, target, strings.Replace(stretch, "-", "none", 1), value, r.Verdict)
	}
}

func (t *table) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	t.head("%s", title)
	for _, l := range lines {
		t.line("  %s", strings.ReplaceAll(strings.ReplaceAll(l, "\t", " "), "\n", "\n    "))
	}
}
