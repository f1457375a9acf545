package middlewaretest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Samples are the counters and gauges of a registry that are not zero, by name
// and labels, such as outrigger_requests_total{code=200,method=GET}.
func Samples(t testing.TB, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = v
			}
		}
	}
	return all
}
