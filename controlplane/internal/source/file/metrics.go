package file

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	objects, bad, unlisted prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "outrigger", Subsystem: "files", Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	return &metrics{
		objects:  gauge("objects", "Objects read from files."),
		bad:      gauge("bad", "Files that are wrong or cannot be read, whose last good content is used."),
		unlisted: gauge("unlisted", "Configured paths that cannot be listed, whose last good content is used."),
	}
}

// count sets the gauges to what is known now.
func (s *Source) count() {
	objects, bad := 0, 0
	for _, e := range s.files {
		objects += len(e.objects)
		if e.bad != "" {
			bad++
		}
	}
	s.metrics.objects.Set(float64(objects))
	s.metrics.bad.Set(float64(bad))
	s.metrics.unlisted.Set(float64(len(s.listing)))
}
