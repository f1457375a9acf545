package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/outrigger-mesh/outrigger/registry"
)

// httpOptions says which version of HTTP a port's endpoints are spoken to in;
// nil where it is not HTTP. An undeclared port is spoken to as the client
// speaks: Envoy calls that use_downstream_protocol_config, and needs both
// versions' options for it.
func httpOptions(p registry.Protocol) *httpv3.HttpProtocolOptions {
	type explicit = httpv3.HttpProtocolOptions_ExplicitHttpConfig
	o := &httpv3.HttpProtocolOptions{}
	switch p {
	case registry.ProtocolUndeclared:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		}
	case registry.ProtocolHTTP:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &explicit{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
			},
		}}
	case registry.ProtocolHTTP2, registry.ProtocolGRPC:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &explicit{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		}}
	default:
		return nil
	}
	return o
}
