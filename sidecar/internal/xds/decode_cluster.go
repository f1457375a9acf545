package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// httpOptions is the key, and the type's name, of a cluster's HTTP settings.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

var (
	clusterFields = allow(`name type eds_cluster_config connect_timeout lb_policy http2_protocol_options
		typed_extension_protocol_options health_checks max_requests_per_connection circuit_breakers
		common_http_protocol_options outlier_detection least_request_lb_config round_robin_lb_config
		ring_hash_lb_config maglev_lb_config common_lb_config`, `alt_stat_name per_connection_buffer_limit_bytes
		upstream_http_protocol_options http_protocol_options respect_dns_ttl wait_for_warm_on_init metadata
		upstream_connection_options ignore_health_on_host_removal lrs_server lrs_report_endpoint_metrics
		track_timeout_budgets track_cluster_stats preconnect_policy`)
	edsFields         = allow("eds_config service_name", "")
	httpOptionsFields = allow(`explicit_http_config use_downstream_protocol_config auto_config
		common_http_protocol_options outlier_detection hash_policy`,
		"upstream_http_protocol_options retry_policy")
)

// clusterResource is a Cluster whose endpoints come over EDS.
type clusterResource struct {
	cfg upstream.Config
	eds string // the name of its ClusterLoadAssignment
}

func decodeCluster(name string, body *anypb.Any) (clusterResource, error) {
	var c clusterv3.Cluster
	if err := unpack(body, &c); err != nil {
		return clusterResource{}, err
	}
	var p problems
	p.named(c.GetName(), name)
	p.check("", &c, clusterFields)
	if c.GetType() != clusterv3.Cluster_EDS {
		p.addf("type", "%s is not supported, only EDS is", c.GetType())
	}
	p.check("eds_cluster_config", c.GetEdsClusterConfig(), edsFields)
	if c.GetType() == clusterv3.Cluster_EDS {
		if err := overADS(c.GetEdsClusterConfig().GetEdsConfig()); err != nil {
			p.addf("eds_cluster_config", "%v", err)
		}
	}
	o := decodeHTTPOptions(&p, &c)
	protocol, http2 := decodeProtocol(&p, &c, o)
	r := clusterResource{
		cfg: upstream.Config{
			Name:           name,
			ConnectTimeout: decodeDuration(&p, "connect_timeout", c.GetConnectTimeout()),
			Protocol:       protocol,
			Settings:       decodeSettings(&p, &c, o, http2),
		},
		eds: c.GetEdsClusterConfig().GetServiceName(),
	}
	if r.eds == "" {
		r.eds = name
	}
	return r, p.err()
}

// decodeHTTPOptions is the cluster's HTTP settings; nil where it has none.
func decodeHTTPOptions(p *problems, c *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	const at = "typed_extension_protocol_options"
	var out *httpv3.HttpProtocolOptions
	for key, body := range c.GetTypedExtensionProtocolOptions() {
		if key != httpOptions {
			p.addf(at, "%s is not supported", key)
			continue
		}
		var o httpv3.HttpProtocolOptions
		if err := unpack(body, &o); err != nil {
			p.addf(at, "%v", err)
			continue
		}
		p.check(at, &o, httpOptionsFields)
		out = &o
	}
	return out
}
