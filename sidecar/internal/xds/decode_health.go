package xds

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var (
	healthFields = allow(`timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold
		healthy_threshold no_traffic_interval http_health_check tcp_health_check grpc_health_check`,
		"name reuse_connection event_log_path event_logger event_service always_log_health_check_failures always_log_health_check_success")
	httpCheckFields = allow("host path expected_statuses codec_client_type method", "response_buffer_size")
	tcpCheckFields  = allow("", "")
	grpcCheckFields = allow("service_name authority", "")
)

// decodeHealth reads the check of a cluster's endpoints; nil where it has none.
func decodeHealth(p *problems, c *clusterv3.Cluster) *upstream.Health {
	list := c.GetHealthChecks()
	if len(list) == 0 {
		return nil
	}
	if len(list) > 1 {
		p.addf("health_checks", "%d are not supported, only one is", len(list))
		return nil
	}
	const at = "health_checks[0]"
	h := list[0]
	p.check(at, h, healthFields)
	duration := func(field string, d *durationpb.Duration, least time.Duration) time.Duration {
		return clamp(decodeDuration(p, join(at, field), d), least, 24*time.Hour)
	}
	out := &upstream.Health{
		Interval:          duration("interval", h.GetInterval(), 10*time.Millisecond),
		NoTrafficInterval: duration("no_traffic_interval", h.GetNoTrafficInterval(), 10*time.Millisecond),
		Timeout:           min(duration("timeout", h.GetTimeout(), time.Millisecond), time.Minute),
		Jitter:            min(duration("interval_jitter", h.GetIntervalJitter(), time.Millisecond), time.Hour),
		JitterPercent:     int(min(h.GetIntervalJitterPercent(), 100)),
		InitialJitter:     min(duration("initial_jitter", h.GetInitialJitter(), time.Millisecond), time.Hour),
		HealthyAfter:      max(number(h.GetHealthyThreshold(), 1), 1),
		UnhealthyAfter:    max(number(h.GetUnhealthyThreshold(), 1), 1),
	}
	if out.NoTrafficInterval == 0 {
		out.NoTrafficInterval = time.Minute // the API's default
	}
	switch k := h.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		out.HTTP = decodeHTTPCheck(p, at+".http_health_check", k.HttpHealthCheck, c.GetName())
	case *corev3.HealthCheck_TcpHealthCheck_:
		p.check(at+".tcp_health_check", k.TcpHealthCheck, tcpCheckFields)
		out.TCP = &upstream.TCPCheck{}
	case *corev3.HealthCheck_GrpcHealthCheck_:
		p.check(at+".grpc_health_check", k.GrpcHealthCheck, grpcCheckFields)
		out.GRPC = &upstream.GRPCCheck{Service: k.GrpcHealthCheck.GetServiceName(), Authority: k.GrpcHealthCheck.GetAuthority()}
		if err := out.GRPC.Validate(); err != nil {
			p.addf(at+".grpc_health_check", "%v", err)
		}
	}
	if len(*p) == 0 {
		if err := out.Validate(); err != nil {
			p.addf(at, "%v", err)
		}
	}
	return out
}

func decodeHTTPCheck(p *problems, at string, h *corev3.HealthCheck_HttpHealthCheck, cluster string) *upstream.HTTPCheck {
	p.check(at, h, httpCheckFields)
	out := &upstream.HTTPCheck{
		Protocol: registry.ProtocolHTTP,
		Path:     h.GetPath(), Host: h.GetHost(), Method: "GET", StrictStatus: true,
		Statuses: []upstream.StatusRange{{From: 200, To: 200}},
	}
	switch h.GetCodecClientType() {
	case typev3.CodecClientType_HTTP1:
	case typev3.CodecClientType_HTTP2:
		out.Protocol = registry.ProtocolHTTP2
	default:
		p.addf(at, "codec_client_type %s is not supported: checks are made over HTTP/1.1 and HTTP/2", h.GetCodecClientType())
	}
	if out.Host == "" {
		out.Host = cluster
	}
	if m := h.GetMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.String()
	}
	if len(h.GetExpectedStatuses()) > 0 {
		out.Statuses = nil
	}
	for i, r := range h.GetExpectedStatuses() { // half open
		if r.GetStart() < 200 || r.GetEnd() > 600 || r.GetStart() >= r.GetEnd() {
			p.addf(fmt.Sprintf("%s.expected_statuses[%d]", at, i), "[%d, %d) is not within [200, 600)", r.GetStart(), r.GetEnd())
			continue
		}
		out.Statuses = append(out.Statuses, upstream.StatusRange{From: int(r.GetStart()), To: int(r.GetEnd()) - 1})
	}
	if err := out.Validate(); err != nil && len(*p) == 0 {
		p.addf(at, "%v", err)
	}
	return out
}
