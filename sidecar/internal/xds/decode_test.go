package xds

import (
	"regexp"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func TestTablesNameFieldsThatThereAre(t *testing.T) {
	checkFieldNames(t, &listenerv3.Listener{}, listenerFields)
	checkFieldNames(t, &hcmv3.HttpConnectionManager{}, hcmFields)
	checkFieldNames(t, &hcmv3.Rds{}, rdsFields)
	checkFieldNames(t, &routev3.RouteConfiguration{}, routeConfigFields)
	checkFieldNames(t, &routev3.VirtualHost{}, virtualHostFields)
	checkFieldNames(t, &routev3.Route{}, routeFields)
	checkFieldNames(t, &routev3.RouteAction{}, routeActionFields)
	checkFieldNames(t, &routev3.RouteAction_MaxStreamDuration{}, maxStreamDurationFields)
	checkFieldNames(t, &routev3.WeightedCluster{}, weightedClusterFields)
	checkFieldNames(t, &routev3.WeightedCluster_ClusterWeight{}, clusterWeightFields)
	checkFieldNames(t, &routev3.DirectResponseAction{}, directResponseFields)
	checkFieldNames(t, &routev3.RouteMatch{}, matchFields)
	checkFieldNames(t, &routev3.HeaderMatcher{}, headerFields)
	checkFieldNames(t, &routev3.QueryParameterMatcher{}, queryFields)
	checkFieldNames(t, &matcherv3.StringMatcher{}, stringFields)
	checkFieldNames(t, &clusterv3.Cluster{}, clusterFields)
	checkFieldNames(t, &clusterv3.Cluster_EdsClusterConfig{}, edsFields)
	checkFieldNames(t, &httpv3.HttpProtocolOptions{}, httpOptionsFields)
	checkFieldNames(t, &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}, explicitHTTPFields)
	checkFieldNames(t, &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{}, downstreamHTTPFields)
	checkFieldNames(t, &corev3.Http2ProtocolOptions{}, http2Fields)
	checkFieldNames(t, &endpointv3.ClusterLoadAssignment{}, assignmentFields)
	checkFieldNames(t, &endpointv3.ClusterLoadAssignment_Policy{}, policyFields)
	checkFieldNames(t, &endpointv3.LocalityLbEndpoints{}, localityFields)
	checkFieldNames(t, &endpointv3.LbEndpoint{}, lbEndpointFields)
	checkFieldNames(t, &endpointv3.Endpoint{}, endpointFields)
	checkFieldNames(t, &corev3.SocketAddress{}, addressFields)
}

// oneRoute is a configuration of one route to cluster c.
func oneRoute(m *routev3.RouteMatch) *routev3.RouteConfiguration {
	rc := routesTo("r", "c")
	rc.VirtualHosts[0].Routes[0].Match = m
	return rc
}

func regex(s string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: s} }

var compareRegexps = cmp.Comparer(func(a, b *regexp.Regexp) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
})

func TestMatchesAreCarried(t *testing.T) {
	root := func(change func(*routev3.RouteMatch)) *routev3.RouteMatch {
		m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
		change(m)
		return m
	}
	header := func(h *routev3.HeaderMatcher) *routev3.RouteMatch {
		return root(func(m *routev3.RouteMatch) { m.Headers = []*routev3.HeaderMatcher{h} })
	}
	text := func(s *matcherv3.StringMatcher) *routev3.RouteMatch {
		return header(&routev3.HeaderMatcher{
			Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: s},
		})
	}
	headers := func(v ...route.ValueMatch) route.Match { return route.Match{Path: "/", Headers: v} }
	re := regexp.MustCompile
	for _, tc := range []struct {
		name string
		in   *routev3.RouteMatch
		want route.Match
	}{
		{"everything", root(func(*routev3.RouteMatch) {}), route.Match{Path: "/"}},
		{
			"prefix of bytes", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/a.b"}},
			route.Match{PathKind: route.PathRegexp, Regexp: re(`^(?:/a\.b(?s:.*))$`)},
		},
		{
			"prefix of segments", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/a"}},
			route.Match{PathKind: route.PathPrefix, Path: "/a"},
		},
		{"prefix of segments in any case", &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/a"}, CaseSensitive: wrapperspb.Bool(false),
		}, route.Match{PathKind: route.PathRegexp, Regexp: re(`^(?i:/a(?s:/.*)?)$`)}},
		{
			"exact path", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/a"}},
			route.Match{PathKind: route.PathExact, Path: "/a"},
		},
		{
			"regular expression", &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: regex("/a|/b")}},
			route.Match{PathKind: route.PathRegexp, Regexp: re("^(?:/a|/b)$")},
		},
		{"method", header(&routev3.HeaderMatcher{
			Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "GET"},
		}), route.Match{Path: "/", Method: "GET"}},
		{
			"header exact", text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "v"}}),
			headers(route.ValueMatch{Name: "x", Exact: "v"}),
		},
		{"header exact, legacy", header(&routev3.HeaderMatcher{
			Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "v"},
		}), headers(route.ValueMatch{Name: "x", Exact: "v"})},
		{
			"header empty", text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{}}),
			headers(route.ValueMatch{Name: "x", Regexp: re("^(?:)$")}),
		},
		{"header in any case", text(&matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "v"}, IgnoreCase: true,
		}), headers(route.ValueMatch{Name: "x", Regexp: re("^(?i:v)$")})},
		{
			"header prefix", text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "v."}}),
			headers(route.ValueMatch{Name: "x", Regexp: re(`^(?:v\.(?s:.*))$`)}),
		},
		{
			"header suffix", text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "v"}}),
			headers(route.ValueMatch{Name: "x", Regexp: re(`^(?:(?s:.*)v)$`)}),
		},
		{
			"header contains", text(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "v"}}),
			headers(route.ValueMatch{Name: "x", Regexp: re(`^(?:(?s:.*)v(?s:.*))$`)}),
		},
		{"header regular expression", header(&routev3.HeaderMatcher{
			Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: regex("v+")},
		}), headers(route.ValueMatch{Name: "x", Regexp: re("^(?:v+)$")})},
		{
			"header present", header(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}),
			headers(route.ValueMatch{Name: "x", Present: true}),
		},
		{
			"header absent", header(&routev3.HeaderMatcher{Name: "x", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}}),
			headers(route.ValueMatch{Name: "x", Present: true, Invert: true}),
		},
		{"header not, of those present", header(&routev3.HeaderMatcher{
			Name: "x", InvertMatch: true,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "v"},
			}},
		}), headers(route.ValueMatch{Name: "x", Present: true}, route.ValueMatch{Name: "x", Exact: "v", Invert: true})},
		{"query", root(func(m *routev3.RouteMatch) {
			m.QueryParameters = []*routev3.QueryParameterMatcher{
				{Name: "a", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
					MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "1"},
				}}},
				{Name: "b", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}},
			}
		}), route.Match{Path: "/", Query: []route.ValueMatch{{Name: "a", Exact: "1"}, {Name: "b", Present: true}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := decodeRoutes("r", pack(oneRoute(tc.in)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, cfg.VirtualHosts[0].Routes[0].Match, compareRegexps); diff != "" {
				t.Errorf("match (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoutesAreCarried(t *testing.T) {
	rc := routesTo("r", "a", "b")
	vh := rc.VirtualHosts[0]
	vh.Domains = []string{"API.Example.com", "api.example.com:8080", "*.example.org"}
	action := vh.Routes[0].GetRoute()
	action.Timeout = durationpb.New(3 * time.Second)
	action.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx"}
	action.GetWeightedClusters().Clusters[1].Weight = wrapperspb.UInt32(0)
	vh.Routes[0].Name = "rule"
	vh.Routes = append(vh.Routes, &routev3.Route{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/gone"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 500, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "no"}},
		}},
	})
	got, err := decodeRoutes("r", pack(rc))
	if err != nil {
		t.Fatal(err)
	}
	want := &route.Config{Name: "r", VirtualHosts: []route.VirtualHost{{
		Name: "all", Domains: []string{"api.example.com", "*.example.org"},
		Routes: []route.Route{
			{
				Name: "rule", Match: route.Match{Path: "/"}, Timeout: 3 * time.Second,
				Clusters: []route.WeightedCluster{{Name: "a", Weight: 1}},
			},
			{Match: route.Match{PathKind: route.PathExact, Path: "/gone"}, Status: 500},
		},
	}}}
	if diff := cmp.Diff(want, got, compareRegexps); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestListenerIgnoresWhatConcernsOthers(t *testing.T) {
	hcm := manager()
	hcm.AccessLog = []*accesslogv3.AccessLog{{Name: "x"}}
	hcm.HttpFilters = append([]*hcmv3.HttpFilter{{
		Name: "extra", IsOptional: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "x/y"}},
	}}, hcm.HttpFilters...)
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: "r"}}
	got, err := decodeListener("l", pack(listenerOf("l", hcm)))
	if err != nil || got.rds != "r" {
		t.Errorf("listener %+v, error %v", got, err)
	}
}

func TestClustersAreCarried(t *testing.T) {
	c := edsCluster("c")
	c.ConnectTimeout = durationpb.New(2 * time.Second)
	c.EdsClusterConfig.ServiceName = "eds"
	got, err := decodeCluster("c", pack(c))
	if err != nil {
		t.Fatal(err)
	}
	want := clusterResource{eds: "eds", cfg: upstream.Config{
		Name: "c", ConnectTimeout: 2 * time.Second, Protocol: registry.ProtocolHTTP,
	}}
	if got != want {
		t.Errorf("cluster %+v, want %+v", got, want)
	}
}
