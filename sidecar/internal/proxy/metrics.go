package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is the engine's own counters: what no middleware can see.
type Metrics struct {
	connections *prometheus.GaugeVec
	refused     *prometheus.CounterVec
	malformed   *prometheus.CounterVec
	http2       *prometheus.GaugeVec
	trouble     *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_downstream_connections", Help: "Open connections from clients.",
		}, []string{"listener"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_downstream_connections_refused_total", Help: "Connections refused because of the limit on open ones.",
		}, []string{"listener"}),
		malformed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_malformed_requests_total", Help: "Requests refused because they are not valid HTTP, by what is wrong.",
		}, []string{"listener", "reason"}),
		http2: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_http2_connections", Help: "Open connections from clients on which HTTP/2 is spoken.",
		}, []string{"listener"}),
		trouble: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_http2_trouble_total", Help: "What clients did wrong in HTTP/2, by kind: the stream, or the connection, was ended for it.",
		}, []string{"listener", "kind"}),
	}
	if r != nil {
		r.MustRegister(m.connections, m.refused, m.malformed, m.http2, m.trouble)
	}
	return m
}

func plural(n int, word string) string {
	s := strconv.Itoa(n) + " " + word
	if n != 1 {
		s += "s"
	}
	return s
}
