package sidecar

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted, refused, expired prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Source) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "outrigger", Subsystem: "registration", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, read func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "outrigger", Subsystem: "registration", Name: name, Help: help}, read))
	}
	gauge("nodes", "Nodes with a lease.", func() float64 { n, _ := s.counts(); return float64(n) })
	gauge("streams", "Nodes whose registration stream stands.", func() float64 { _, n := s.counts(); return float64(n) })
	return &metrics{
		accepted: counter("accepted_total", "Instances messages accepted."),
		refused:  counter("refused_total", "Instances messages refused."),
		expired:  counter("expired_total", "Leases that ran out with instances on them."),
	}
}
