package upstream

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics collects what clusters count when it is asked for it: nothing of it
// costs a request anything.
type metrics struct{ set *Set }

var _ prometheus.Collector = metrics{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("outrigger_upstream_"+name, help, append([]string{"cluster"}, labels...), nil)
}

var (
	connectionsDesc = desc("connections", "Open connections, used and unused ones.")
	connectsDesc    = desc("connects_total", "Connections that were made.")
	failuresDesc    = desc("connect_failures_total", "Connections that could not be made.")
	requestsDesc    = desc("requests", "Requests that have a connection, or are making one.")
	pendingDesc     = desc("pending_requests", "Requests that wait for a connection.")
	refusedDesc     = desc("refused_total", "Requests that a limit of the pool has refused.", "limit")
	endpointsDesc   = desc("endpoints", "Endpoints by their state: healthy, unhealthy (health checks), ejected, draining, down.", "state")
	ejectionsDesc   = desc("ejections_total", "Ejections of endpoints, by what they were ejected for.", "cause")
	overflowsDesc   = desc("ejections_prevented_total", "Ejections that did not happen since the share of ejected endpoints was at its maximum.")
	muxesDesc       = desc("http2_connections", "Open HTTP/2 connections that take requests; they are among connections.")
	streamsDesc     = desc("http2_streams", "Requests that have a stream of an HTTP/2 connection.")
	troublesDesc    = desc("http2_troubles_total", "What endpoints have done wrong as servers of HTTP/2.", "trouble")
	checksDesc      = desc("health_checks_total", "Health checks, by their result.", "result")
)

// Describe is prometheus.Collector's.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connectionsDesc, connectsDesc, failuresDesc, requestsDesc, pendingDesc,
		refusedDesc, endpointsDesc, ejectionsDesc, overflowsDesc, checksDesc,
		muxesDesc, streamsDesc, troublesDesc,
	} {
		ch <- d
	}
}

// sample is one value of a cluster's.
type sample struct {
	desc  *prometheus.Desc
	label string
	kind  prometheus.ValueType
	value float64
}

// Collect is prometheus.Collector's. The hosts that requests are passed through
// to are shown as one cluster: there is no bound to their names.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	type key struct {
		cluster string
		desc    *prometheus.Desc
		label   string
	}
	sums := map[key]float64{}
	kinds := map[*prometheus.Desc]prometheus.ValueType{}
	for _, c := range m.set.All() {
		name := c.name
		if first, _, ok := strings.Cut(name, "/"); ok && first == "passthrough" {
			name = first
		}
		for _, s := range c.samples() {
			sums[key{name, s.desc, s.label}] += s.value
			kinds[s.desc] = s.kind
		}
	}
	for k, v := range sums {
		labels := []string{k.cluster}
		if k.label != "" {
			labels = append(labels, k.label)
		}
		ch <- prometheus.MustNewConstMetric(k.desc, kinds[k.desc], v, labels...)
	}
}

func (c *Cluster) samples() []sample {
	l := &c.limits
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	out := []sample{
		{connectionsDesc, "", gauge, float64(l.openSize.Load())},
		{connectsDesc, "", counter, float64(l.opened.Load())},
		{failuresDesc, "", counter, float64(l.failed.Load())},
		{requestsDesc, "", gauge, float64(l.active.Load())},
		{pendingDesc, "", gauge, float64(l.queueSize.Load())},
		{overflowsDesc, "", counter, float64(c.counts.overflows.Load())},
	}
	muxes, streams := 0, 0
	for _, h := range *l.hosts.Load() {
		n, s := h.muxes.counts()
		muxes, streams = muxes+n, streams+s
	}
	out = append(out, sample{muxesDesc, "", gauge, float64(muxes)}, sample{streamsDesc, "", gauge, float64(streams)})
	for trouble, n := range c.counts.troubles.all() {
		out = append(out, sample{troublesDesc, string(trouble), counter, float64(n)})
	}
	for kind, name := range limitNames {
		out = append(out, sample{refusedDesc, name, counter, float64(l.refusals[kind].Load())})
	}
	for cause, name := range causeNames {
		if n := c.counts.ejections[cause].Load(); n > 0 {
			out = append(out, sample{ejectionsDesc, name, counter, float64(n)})
		}
	}
	for i, result := range []string{"good", "bad"} {
		if n := c.counts.checks[i].Load(); n > 0 {
			out = append(out, sample{checksDesc, result, counter, float64(n)})
		}
	}
	for state, n := range c.states() {
		out = append(out, sample{endpointsDesc, state, gauge, float64(n)})
	}
	return out
}

// states counts the endpoints. Of what holds for one, the first in the order
// down, draining, ejected, unhealthy counts.
func (c *Cluster) states() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{"healthy": 0, "unhealthy": 0, "ejected": 0, "draining": 0, "down": 0}
	for i := range c.given {
		g := &c.given[i]
		h := c.hosts[g.Address]
		switch {
		case h == nil:
			out["down"]++
		case draining(g):
			out["draining"]++
		case h.state.ejected:
			out["ejected"]++
		case h.state.check.failed:
			out["unhealthy"]++
		default:
			out["healthy"]++
		}
	}
	return out
}
