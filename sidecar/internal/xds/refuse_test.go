package xds

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestWhatCannotBeDoneIsRefusedWithItsPlace(t *testing.T) {
	routes := func(change func(*routev3.RouteConfiguration, *routev3.VirtualHost, *routev3.Route)) error {
		rc := routesTo("r", "c")
		change(rc, rc.VirtualHosts[0], rc.VirtualHosts[0].Routes[0])
		_, err := decodeRoutes("r", pack(rc))
		return err
	}
	listener := func(change func(*listenerv3.Listener, *hcmv3.HttpConnectionManager)) error {
		hcm := manager()
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: "r"}}
		l := &listenerv3.Listener{Name: "l"}
		change(l, hcm)
		if l.ApiListener == nil {
			l.ApiListener = &listenerv3.ApiListener{ApiListener: pack(hcm)}
		}
		_, err := decodeListener("l", pack(l))
		return err
	}
	cluster := func(change func(*clusterv3.Cluster)) error {
		c := edsCluster("c")
		change(c)
		_, err := decodeCluster("c", pack(c))
		return err
	}
	endpoints := func(change func(*endpointv3.ClusterLoadAssignment, *endpointv3.LbEndpoint)) error {
		a := assignmentOf("e", "10.0.0.1:80")
		change(a, a.Endpoints[0].LbEndpoints[0])
		_, err := decodeEndpoints("e", pack(a))
		return err
	}
	const at = "virtual_hosts[0].routes[0]"
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{
			"route: another name", routes(func(rc *routev3.RouteConfiguration, _ *routev3.VirtualHost, _ *routev3.Route) { rc.Name = "x" }),
			`says that its name is "x"`,
		},
		{"route: redirect", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}
		}), at + ": redirect is not supported"},
		{"route: header changes", routes(func(rc *routev3.RouteConfiguration, vh *routev3.VirtualHost, r *routev3.Route) {
			rc.RequestHeadersToRemove = []string{"x"}
			vh.ResponseHeadersToRemove = []string{"y"}
			r.RequestHeadersToRemove = []string{"z"}
		}), "request_headers_to_remove is not supported; virtual_hosts[0]: response_headers_to_remove is not supported; " +
			at + ": request_headers_to_remove is not supported"},
		{"route: rewrite", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.GetRoute().PrefixRewrite = "/x"
		}), at + ".route: prefix_rewrite is not supported"},
		{"route: fraction", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.RuntimeFraction = &corev3.RuntimeFractionalPercent{}
		}), "against the API's constraints"},
		{"route: grpc only", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
		}), at + ".match: grpc is not supported"},
		{"route: bad regular expression", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex("a)|(b")}
		}), at + ".match: error parsing regexp: unexpected )"},
		{"route: endless regular expression", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(strings.Repeat("a", maxPattern+1))}
		}), "is longer than 4096"},
		{"route: path with a query", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "/a?b"}
		}), `path "/a?b" holds a query`},
		{"route: relative path", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "a"}
		}), `path "a" does not begin with /`},
		{"route: authority as a header", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Match.Headers = []*routev3.HeaderMatcher{{Name: ":authority"}}
		}), ":authority can only be matched as :method"},
		{"route: domain with a trailing star", routes(func(_ *routev3.RouteConfiguration, vh *routev3.VirtualHost, _ *routev3.Route) {
			vh.Domains = []string{"www.*"}
		}), `domain "www.*" is not supported`},
		{"route: domain of two hosts", routes(func(rc *routev3.RouteConfiguration, _ *routev3.VirtualHost, _ *routev3.Route) {
			rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{Name: "other", Domains: []string{"*"}})
		}), `virtual_hosts[1]: domain "*" is that of virtual host "all" too`},
		{"route: no weight at all", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.GetRoute().GetWeightedClusters().Clusters[0].Weight = wrapperspb.UInt32(0)
		}), "the sum of the weights is 0"},
		{"route: negative timeout", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.GetRoute().Timeout = durationpb.New(-time.Second)
		}), at + ".route.timeout: -1s is negative"},
		{"route: content as a direct response", routes(func(_ *routev3.RouteConfiguration, _ *routev3.VirtualHost, r *routev3.Route) {
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
				Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "hi"}},
			}}
		}), "body is not supported with status 200"},
		{"listener: for a server", listener(func(l *listenerv3.Listener, _ *hcmv3.HttpConnectionManager) {
			l.UseOriginalDst = wrapperspb.Bool(true)
		}), "use_original_dst is not supported"},
		{"listener: none", listener(func(l *listenerv3.Listener, _ *hcmv3.HttpConnectionManager) {
			l.ApiListener = &listenerv3.ApiListener{}
		}), "has no api_listener"},
		{"listener: not HTTP", listener(func(l *listenerv3.Listener, _ *hcmv3.HttpConnectionManager) {
			l.ApiListener = &listenerv3.ApiListener{ApiListener: pack(&clusterv3.Cluster{})}
		}), "api_listener: decode: "},
		{"listener: a filter", listener(func(_ *listenerv3.Listener, m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = append(m.HttpFilters, &hcmv3.HttpFilter{
				Name: "authz", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "x/authz"}},
			})
		}), `api_listener: http_filters[1]: filter "authz" of type "x/authz" is not supported`},
		{"listener: routes from elsewhere", listener(func(_ *listenerv3.Listener, m *hcmv3.HttpConnectionManager) {
			m.GetRds().ConfigSource = &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Path{Path: "/x"}}
		}), "only ads is supported"},
		{"cluster: static", cluster(func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		}), "type: STATIC is not supported"},
		{
			"cluster: TLS", cluster(func(c *clusterv3.Cluster) { c.TransportSocket = &corev3.TransportSocket{Name: "tls"} }),
			"transport_socket is not supported",
		},
		{"endpoints: twice", endpoints(func(a *endpointv3.ClusterLoadAssignment, e *endpointv3.LbEndpoint) {
			a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{Priority: 1, LbEndpoints: []*endpointv3.LbEndpoint{e}})
		}), "endpoints[1].lb_endpoints[0]: address 10.0.0.1:80 is there twice"},
		{"endpoints: no port", endpoints(func(_ *endpointv3.ClusterLoadAssignment, e *endpointv3.LbEndpoint) {
			e.GetEndpoint().GetAddress().GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{}
		}), "it is a number from 1 to 65535"},
		{"endpoints: nobody's address", endpoints(func(_ *endpointv3.ClusterLoadAssignment, e *endpointv3.LbEndpoint) {
			e.GetEndpoint().GetAddress().GetSocketAddress().Address = "0.0.0.0"
		}), "address 0.0.0.0:80 is nobody's"},
		{"endpoints: a pipe", endpoints(func(_ *endpointv3.ClusterLoadAssignment, e *endpointv3.LbEndpoint) {
			e.GetEndpoint().Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}
		}), "Address_Pipe is not supported"},
		{"endpoints: UDP", endpoints(func(_ *endpointv3.ClusterLoadAssignment, e *endpointv3.LbEndpoint) {
			e.GetEndpoint().GetAddress().GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		}), "protocol UDP is not supported"},
		{"endpoints: drops", endpoints(func(a *endpointv3.ClusterLoadAssignment, _ *endpointv3.LbEndpoint) {
			a.Policy = &endpointv3.ClusterLoadAssignment_Policy{
				DropOverloads: []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{Category: "x"}},
			}
		}), "policy: drop_overloads is not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
				t.Errorf("error %v, want …%s…", tc.err, tc.want)
			}
		})
	}
}
