package xds

import (
	"reflect"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var (
	breakerFields   = allow("thresholds per_host_thresholds", "")
	thresholdFields = allow("priority max_connections max_pending_requests max_requests",
		"max_retries retry_budget track_remaining")
	perHostFields    = allow("priority max_connections", "track_remaining")
	commonHTTPFields = allow("idle_timeout max_connection_duration max_requests_per_connection",
		"max_headers_count max_response_headers_kb headers_with_underscores_action")
)

// decodeSettings reads how a cluster is used. What the resource does not
// mention is as with a static upstream; nil is that all over. o is the
// cluster's HTTP options and http2 those of HTTP/2, nil where it has none.
func decodeSettings(
	p *problems, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions, http2 *corev3.Http2ProtocolOptions,
) *upstream.Settings {
	s := upstream.DefaultSettings()
	decodeBalancer(p, c, o, &s.Balancer)
	decodePool(p, c, o, &s.Pool)
	decodeStreams(http2, &s.Pool)
	if c.GetOutlierDetection() != nil {
		s.Outlier = decodeOutlier(p, c.GetOutlierDetection())
	}
	if m := o.GetOutlierDetection().GetErrorMatcher(); m != nil {
		p.addf("typed_extension_protocol_options.outlier_detection", "error_matcher is not supported")
	}
	s.Health = decodeHealth(p, c)
	for _, v := range []struct {
		at       string
		validate func() error
	}{
		{"load balancing", s.Balancer.Validate},
		{"circuit_breakers", s.Pool.Validate},
		{"outlier_detection", s.Outlier.Validate},
	} {
		if err := v.validate(); err != nil && len(*p) == 0 {
			p.addf(v.at, "%v", err)
		}
	}
	if reflect.DeepEqual(s, upstream.DefaultSettings()) {
		return nil
	}
	return &s
}

// number is a field's value; unset says that it has none.
func number(v *wrapperspb.UInt32Value, unset int) int {
	if v == nil {
		return unset
	}
	return int(v.GetValue())
}

// decodePool reads circuit breakers and the limits of connections.
func decodePool(p *problems, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions, pool *upstream.Pool) {
	at := "circuit_breakers"
	if b := c.GetCircuitBreakers(); b != nil {
		p.check(at, b, breakerFields)
		for _, t := range b.GetThresholds() {
			p.check(at+".thresholds", t, thresholdFields)
			if t.GetPriority() == corev3.RoutingPriority_DEFAULT { // no route has another
				pool.MaxConnections = number(t.GetMaxConnections(), pool.MaxConnections)
				pool.MaxPending = number(t.GetMaxPendingRequests(), pool.MaxPending)
				pool.MaxRequests = number(t.GetMaxRequests(), pool.MaxRequests)
			}
		}
		for _, t := range b.GetPerHostThresholds() {
			p.check(at+".per_host_thresholds", t, perHostFields)
			if t.GetPriority() == corev3.RoutingPriority_DEFAULT && t.GetMaxConnections() != nil {
				if t.GetMaxConnections().GetValue() == 0 {
					p.addf(at+".per_host_thresholds", "max_connections 0 is not supported: no request could be sent")
				}
				pool.MaxConnectionsPerEndpoint = number(t.GetMaxConnections(), 0)
			}
		}
	}
	// "No limit" is the largest number in Envoy's configurations.
	for _, n := range []*int{&pool.MaxConnections, &pool.MaxPending, &pool.MaxRequests, &pool.MaxConnectionsPerEndpoint} {
		*n = min(*n, upstream.MaxPoolLimit)
	}
	pool.MaxPending = min(pool.MaxPending, upstream.MaxPoolPending)
	pool.MaxRequestsPerConnection = number(c.GetMaxRequestsPerConnection(), 0)                  //nolint:staticcheck // the form of older servers
	decodeCommonHTTP(p, "common_http_protocol_options", c.GetCommonHttpProtocolOptions(), pool) //nolint:staticcheck // likewise
	decodeCommonHTTP(p, "typed_extension_protocol_options.common_http_protocol_options", o.GetCommonHttpProtocolOptions(), pool)
}

func decodeCommonHTTP(p *problems, at string, o *corev3.HttpProtocolOptions, pool *upstream.Pool) {
	if o == nil {
		return
	}
	p.check(at, o, commonHTTPFields)
	if d := o.GetIdleTimeout(); d != nil {
		pool.IdleTimeout = decodeDuration(p, join(at, "idle_timeout"), d)
	}
	if d := o.GetMaxConnectionDuration(); d != nil {
		pool.MaxAge = decodeDuration(p, join(at, "max_connection_duration"), d)
	}
	pool.MaxRequestsPerConnection = number(o.GetMaxRequestsPerConnection(), pool.MaxRequestsPerConnection)
	// Shorter ones would not keep a connection at all, longer ones are no limit.
	pool.IdleTimeout = clamp(pool.IdleTimeout, 10*time.Millisecond, 24*time.Hour)
	pool.MaxAge = clamp(pool.MaxAge, time.Second, 30*24*time.Hour)
}

// clamp leaves zero as it is.
func clamp(d, least, most time.Duration) time.Duration {
	if d == 0 {
		return 0
	}
	return min(max(d, least), most)
}
