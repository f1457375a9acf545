package serve

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	responses, resources, nacks *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, c *Cache) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "outrigger", Subsystem: "xds", Name: name, Help: help}, []string{"type"})
		reg.MustRegister(v)
		return v
	}
	reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: "outrigger", Subsystem: "xds", Name: "streams", Help: "xDS streams that stand."},
		func() float64 {
			c.mu.RLock()
			defer c.mu.RUnlock()
			return float64(len(c.sessions))
		}))
	return &metrics{
		responses: counter("responses_total", "Responses sent."),
		resources: counter("resources_sent_total", "Resources sent."),
		nacks:     counter("nacks_total", "Responses that clients rejected."),
	}
}
