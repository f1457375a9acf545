package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var (
	explicitHTTPFields   = allow("http_protocol_options http2_protocol_options", "")
	downstreamHTTPFields = allow("http_protocol_options http2_protocol_options", "")
	// Windows, tables and defences against floods are this program's own.
	http2Fields = allow("max_concurrent_streams", `hpack_table_size initial_stream_window_size
		initial_connection_window_size max_outbound_frames max_outbound_control_frames
		max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
		max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
		override_stream_error_on_invalid_http_message connection_keepalive use_oghttp2_codec
		max_metadata_size enable_huffman_encoding`)
)

// decodeProtocol reads which version of HTTP the endpoints are spoken to in:
// one that is said, or the client's own. Who says nothing means HTTP/1.1, as
// with Envoy. o is the cluster's HTTP options, nil where it has none.
//
// What one version's options say of it is taken where it is spoken.
func decodeProtocol(p *problems, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions) (registry.Protocol, *corev3.Http2ProtocolOptions) {
	const at = "typed_extension_protocol_options"
	// The form of older servers.
	http2 := c.GetHttp2ProtocolOptions() //nolint:staticcheck // likewise
	protocol := registry.ProtocolHTTP
	switch {
	case o.GetExplicitHttpConfig() != nil:
		e := o.GetExplicitHttpConfig()
		p.check(at+".explicit_http_config", e, explicitHTTPFields)
		if e.GetHttp2ProtocolOptions() != nil {
			http2 = e.GetHttp2ProtocolOptions()
		}
	case o.GetUseDownstreamProtocolConfig() != nil:
		d := o.GetUseDownstreamProtocolConfig()
		p.check(at+".use_downstream_protocol_config", d, downstreamHTTPFields)
		protocol, http2 = registry.ProtocolUndeclared, d.GetHttp2ProtocolOptions()
	case o.GetAutoConfig() != nil:
		p.addf(at, "auto_config is not supported: it has ALPN choose the version, which needs TLS")
	}
	if http2 == nil {
		return protocol, nil
	}
	p.check("http2_protocol_options", http2, http2Fields)
	if protocol == registry.ProtocolUndeclared {
		return protocol, http2
	}
	// Only our control plane tells the two apart.
	meta := c.GetMetadata().GetFilterMetadata()["outrigger"].GetFields()
	if meta["protocol"].GetStringValue() == string(registry.ProtocolGRPC) {
		return registry.ProtocolGRPC, http2
	}
	return registry.ProtocolHTTP2, http2
}

// decodeStreams reads how many requests share a connection.
func decodeStreams(o *corev3.Http2ProtocolOptions, pool *upstream.Pool) {
	if n := o.GetMaxConcurrentStreams(); n != nil {
		pool.HTTP2.Streams = int(min(n.GetValue(), upstream.MaxPoolStreams))
	}
}
