package mesh

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	publications prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, m *Mesh) *metrics {
	gauge := func(name, help string, read func(*Snapshot) int) {
		reg.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "outrigger", Subsystem: "mesh", Name: name, Help: help},
			func() float64 { return float64(read(m.Snapshot())) }))
	}
	gauge("services", "Services that are known.", func(s *Snapshot) int { return len(s.Services) })
	gauge("routes", "HTTPRoutes that are in force.", func(s *Snapshot) int { return len(s.Routes) })
	gauge("instances", "Instances behind the services' ports.", func(s *Snapshot) int {
		n := 0
		for _, svc := range s.Services {
			for _, p := range svc.Ports {
				n += len(p.Instances)
			}
		}
		return n
	})
	gauge("hosts", "Hosts that are known.", func(*Snapshot) int { return m.hosts.Count() })
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "outrigger", Subsystem: "mesh", Name: "publications_total", Help: "Snapshots published.",
	})
	reg.MustRegister(c)
	return &metrics{publications: c}
}
