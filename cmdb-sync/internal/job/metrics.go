package job

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
)

// Metrics are what a job counts, in a registry of its own.
type Metrics struct {
	registry    *prometheus.Registry
	runs        *prometheus.CounterVec
	duration    prometheus.Histogram
	lastRun     prometheus.Gauge
	lastSuccess prometheus.Gauge
	records     prometheus.Gauge
	quarantined prometheus.Gauge
	hosts       *prometheus.GaugeVec
	changes     *prometheus.CounterVec
	stopped     *prometheus.CounterVec
}

func newMetrics(sourceName string) *Metrics {
	labels := prometheus.Labels{"source": sourceName}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, []string{label})
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		runs:        counters("outrigger_cmdb_runs_total", "Runs, by how they ended.", "result"),
		lastRun:     gauge("outrigger_cmdb_last_run_timestamp_seconds", "When the last run ended."),
		lastSuccess: gauge("outrigger_cmdb_last_success_timestamp_seconds", "When the last run ended with the mesh as the source says; 0 if none has."),
		records:     gauge("outrigger_cmdb_records", "Records that the source gave when it was last read."),
		quarantined: gauge("outrigger_cmdb_quarantined_records", "Records of the last plan that make no host."),
		hosts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_cmdb_hosts", Help: "Hosts of this source at the last plan, by state.", ConstLabels: labels,
		}, []string{"state"}),
		changes: counters("outrigger_cmdb_changes_total", "Changes that were applied to hosts, by kind.", "action"),
		stopped: counters("outrigger_cmdb_blocked_total", "Runs that a guard has blocked, by its rule.", "rule"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "outrigger_cmdb_run_duration_seconds", Help: "How long runs took.", ConstLabels: labels,
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
		}),
	}
	m.registry.MustRegister(m.runs, m.duration, m.lastRun, m.lastSuccess, m.records, m.quarantined, m.hosts, m.changes, m.stopped,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{"applied", "unchanged", "blocked", "source_failed", "stale", "failed"} {
		m.runs.WithLabelValues(result)
	}
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *Metrics) fetched(s *snapshot.Snapshot) { m.records.Set(float64(s.Total)) }

func (m *Metrics) planned(p *plan.Plan) {
	m.quarantined.Set(float64(len(p.Quarantined)))
	for state, n := range map[string]int{"present": p.Counts.Present, "leaving": p.Counts.Waiting, "kept": p.Counts.Kept} {
		m.hosts.WithLabelValues(state).Set(float64(n))
	}
}

func (m *Metrics) applied(p *plan.Plan) {
	for i := range p.Changes {
		m.changes.WithLabelValues(string(p.Changes[i].Action)).Inc()
	}
}

func (m *Metrics) blocked(b *BlockedError) {
	for _, r := range b.Results {
		m.stopped.WithLabelValues(r.Rule).Inc()
	}
}

func (m *Metrics) ran(result string, end time.Time, took time.Duration) {
	m.runs.WithLabelValues(result).Inc()
	m.duration.Observe(took.Seconds())
	at := float64(end.UnixMilli()) / 1000
	m.lastRun.Set(at)
	if result == "applied" || result == "unchanged" {
		m.lastSuccess.Set(at)
	}
}
