package xds

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func options(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpOptions: pack(o)}
}

func explicit1() map[string]*anypb.Any { return httpOptionsOf(&httpv3.HttpProtocolOptions{}) }

func explicit2(o *corev3.Http2ProtocolOptions) map[string]*anypb.Any {
	return options(&httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o},
		},
	}})
}

func downstream(d *httpv3.HttpProtocolOptions_UseDownstreamHttpConfig) map[string]*anypb.Any {
	return options(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: d},
	})
}

func TestProtocolsOfClustersAreCarried(t *testing.T) {
	const plenty = 1 << 30
	most := func(n uint32) *corev3.Http2ProtocolOptions {
		return &corev3.Http2ProtocolOptions{MaxConcurrentStreams: wrapperspb.UInt32(n)}
	}
	streams := upstream.DefaultPool().HTTP2.Streams
	for name, tc := range map[string]struct {
		change  func(*clusterv3.Cluster)
		want    registry.Protocol
		streams int
	}{
		"nothing": {func(*clusterv3.Cluster) {}, registry.ProtocolHTTP, streams},
		"HTTP/1":  {func(c *clusterv3.Cluster) { c.TypedExtensionProtocolOptions = explicit1() }, registry.ProtocolHTTP, streams},
		"HTTP/2": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = explicit2(&corev3.Http2ProtocolOptions{InitialStreamWindowSize: wrapperspb.UInt32(1 << 20)})
		}, registry.ProtocolHTTP2, streams},
		"HTTP/2, streams":      {func(c *clusterv3.Cluster) { c.TypedExtensionProtocolOptions = explicit2(most(7)) }, registry.ProtocolHTTP2, 7},
		"HTTP/2, many streams": {func(c *clusterv3.Cluster) { c.TypedExtensionProtocolOptions = explicit2(most(plenty)) }, registry.ProtocolHTTP2, upstream.MaxPoolStreams},
		"the form of older servers": {func(c *clusterv3.Cluster) {
			c.Http2ProtocolOptions = most(9) //nolint:staticcheck // what is tested
		}, registry.ProtocolHTTP2, 9},
		"gRPC": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = explicit2(&corev3.Http2ProtocolOptions{})
			c.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"outrigger": {
				Fields: map[string]*structpb.Value{"protocol": structpb.NewStringValue("grpc")},
			}}}
		}, registry.ProtocolGRPC, streams},
		"what the client speaks": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = downstream(&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: most(11),
			})
		}, registry.ProtocolUndeclared, 11},
		"what the client speaks, by its defaults": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = downstream(&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{})
		}, registry.ProtocolUndeclared, streams},
	} {
		t.Run(name, func(t *testing.T) {
			c := edsCluster("c")
			tc.change(c)
			got, err := decodeCluster("c", pack(c))
			if err != nil {
				t.Fatal(err)
			}
			n := streams
			if s := got.cfg.Settings; s != nil {
				n = s.Pool.HTTP2.Streams
			}
			if got.cfg.Protocol != tc.want || n != tc.streams {
				t.Errorf("protocol %q with %d streams, want %q with %d", got.cfg.Protocol, n, tc.want, tc.streams)
			}
		})
	}
}

func TestProtocolsThatAreNotCarriedAreRefused(t *testing.T) {
	for want, o := range map[string]map[string]*anypb.Any{
		"http2_protocol_options: allow_connect is not supported": explicit2(&corev3.Http2ProtocolOptions{AllowConnect: true}),
		"explicit_http_config: http3_protocol_options is not supported": options(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
				ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions{Http3ProtocolOptions: &corev3.Http3ProtocolOptions{}},
				},
			},
		}),
		"use_downstream_protocol_config: http3_protocol_options is not supported": downstream(
			&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{Http3ProtocolOptions: &corev3.Http3ProtocolOptions{}}),
		"auto_config is not supported: it has ALPN choose the version": options(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{}},
		}),
	} {
		c := edsCluster("c")
		c.TypedExtensionProtocolOptions = o
		if _, err := decodeCluster("c", pack(c)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want …%s…", err, want)
		}
	}
}
