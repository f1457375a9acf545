package tcp

import "github.com/prometheus/client_golang/prometheus"

// Metrics are those of all ports, by the port's name.
type Metrics struct {
	open     *prometheus.GaugeVec
	total    *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_tcp_connections", Help: "Open connections of tcp ports.",
		}, []string{"port"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_tcp_connections_total", Help: "Connections of tcp ports that have ended, by why.",
		}, []string{"port", "reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_tcp_bytes_total", Help: "Bytes passed on, to the app (in) and from it (out).",
		}, []string{"port", "direction"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "outrigger_tcp_connection_duration_seconds", Help: "How long connections of tcp ports were open.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12), // 1 ms to 1 h 10 min
		}, []string{"port"}),
	}
	if r != nil {
		r.MustRegister(m.open, m.total, m.bytes, m.duration)
	}
	return m
}
