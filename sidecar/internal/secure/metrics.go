package secure

import "github.com/prometheus/client_golang/prometheus"

// Metrics is what happens with TLS.
type Metrics struct {
	reloads    *prometheus.CounterVec
	expiry     *prometheus.GaugeVec
	handshakes *prometheus.CounterVec
	failures   *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_tls_reloads_total", Help: "Times that changed certificates or authorities were read, by file and result (ok, failed).",
		}, []string{"source", "result"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outrigger_tls_certificate_expiry_seconds", Help: "When the certificate in force expires, or the first of its chain, by file, in Unix time.",
		}, []string{"source"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_tls_handshakes_total", Help: "TLS handshakes with clients, by version and protocol (h2, http/1.1, none).",
		}, []string{"listener", "version", "alpn"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outrigger_tls_handshake_failures_total", Help: "TLS handshakes with clients that failed, by reason.",
		}, []string{"listener", "reason"}),
	}
	if r != nil {
		r.MustRegister(m.reloads, m.expiry, m.handshakes, m.failures)
	}
	return m
}
