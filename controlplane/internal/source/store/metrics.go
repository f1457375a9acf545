package store

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	objects, bad *prometheus.GaugeVec
	errors       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "outrigger", Subsystem: "store", Name: name, Help: help,
		}, []string{"collection"})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		objects: gauge("objects", "Objects read from the store."),
		bad:     gauge("bad", "Stored objects that cannot be read, of which what was last known is used."),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "outrigger", Subsystem: "store", Name: "errors_total", Help: "Failed attempts to read the store.",
		}),
	}
	reg.MustRegister(m.errors)
	return m
}
