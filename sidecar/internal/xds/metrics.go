package xds

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	updates *prometheus.CounterVec
	nacks   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, c *Client) *metrics {
	m := &metrics{
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_xds_updates_total",
			Help: "Responses of the control plane, by resource type.",
		}, []string{"type"}),
		nacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_xds_nacks_total",
			Help: "Resources refused, by resource type.",
		}, []string{"type"}),
	}
	if reg == nil {
		return m
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	reg.MustRegister(m.updates, m.nacks,
		gauge("outrigger_xds_connected", "1 while a stream to the control plane stands.", func() float64 {
			if ok, _ := c.ads.Connected(); ok {
				return 1
			}
			return 0
		}),
		gauge("outrigger_xds_staleness_seconds", "How long the control plane has been away; 0 while it is not.",
			func() float64 { return c.staleness().Seconds() }),
		gauge("outrigger_xds_listeners", "Listeners subscribed to.",
			func() float64 { n, _ := c.sizes(); return float64(n) }),
		gauge("outrigger_xds_clusters", "Clusters subscribed to.",
			func() float64 { _, n := c.sizes(); return float64(n) }),
	)
	return m
}

// update counts a response and what was refused of it. The type is one of
// those subscribed to, and so one of a few.
func (m *metrics) update(typeURL string, refused int) {
	kind := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
	m.updates.WithLabelValues(kind).Inc()
	m.nacks.WithLabelValues(kind).Add(float64(refused))
}
