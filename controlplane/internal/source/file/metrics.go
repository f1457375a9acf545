package file

import (
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

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

// Problems are what is wrong now with the files, as it was logged. It may be
// called from any goroutine.
func (s *Source) Problems() []string {
	if p := s.problems.Load(); p != nil {
		return *p
	}
	return nil
}

// count notes what is known now, for the gauges and for Problems.
func (s *Source) count() {
	objects := 0
	var bad, files []string
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		e := s.files[name]
		objects += len(e.objects)
		if e.bad != "" {
			bad = append(bad, strings.Split(e.bad, "\n")...)
			files = append(files, name)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s.listing)) {
		bad = append(bad, s.listing[path])
	}
	s.problems.Store(&bad)
	s.metrics.objects.Set(float64(objects))
	s.metrics.bad.Set(float64(len(files)))
	s.metrics.unlisted.Set(float64(len(s.listing)))
}
