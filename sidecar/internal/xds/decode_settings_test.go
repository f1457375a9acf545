package xds

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

func httpOptionsOf(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
			},
		},
	}
	return map[string]*anypb.Any{httpOptions: pack(o)}
}

func headerHash(name string, terminal bool) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{
		Terminal: terminal,
		PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name},
		},
	}
}

func httpCheck(change func(*corev3.HealthCheck, *corev3.HealthCheck_HttpHealthCheck)) []*corev3.HealthCheck {
	k := &corev3.HealthCheck_HttpHealthCheck{Path: "/healthz"}
	h := &corev3.HealthCheck{
		Timeout: durationpb.New(time.Second), Interval: durationpb.New(5 * time.Second),
		UnhealthyThreshold: u32(3), HealthyThreshold: u32(2),
		HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: k},
	}
	change(h, k)
	return []*corev3.HealthCheck{h}
}

// envoyOutlier is what an empty message means by Envoy's API.
func envoyOutlier() upstream.Outlier {
	return upstream.Outlier{
		Consecutive5xx: 5,
		SuccessRate:    upstream.SuccessRate{StdevFactor: 1.9, MinHosts: 5, MinRequests: 100},
		FailurePercent: upstream.FailurePercent{MinHosts: 5, MinRequests: 50},
		Interval:       10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 5 * time.Minute,
		MaxEjectionPercent: 10, ReturnOnHealthy: true,
	}
}

func TestClusterSettingsAreCarried(t *testing.T) {
	second := durationpb.New(time.Second)
	for _, tc := range []struct {
		name string
		in   func(*clusterv3.Cluster)
		want func(*upstream.Settings)
	}{
		{"none", func(*clusterv3.Cluster) {}, nil},
		{"what is the default", func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
				HealthyPanicThreshold: &typev3.Percent{Value: 50},
				LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
					LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
				},
			}
		}, nil},
		{"random", func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_RANDOM }, func(s *upstream.Settings) {
			s.Balancer.Policy = balance.PolicyRandom
		}},
		{"least request, slow start, panic threshold", func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
				ChoiceCount:       u32(4),
				ActiveRequestBias: &corev3.RuntimeDouble{DefaultValue: 0.5, RuntimeKey: "x"},
				SlowStartConfig: &clusterv3.Cluster_SlowStartConfig{
					SlowStartWindow: durationpb.New(time.Minute), MinWeightPercent: &typev3.Percent{Value: 20},
				},
			}}
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}}
		}, func(s *upstream.Settings) {
			s.Balancer.Policy = balance.PolicyLeastRequest
			s.Balancer.LeastRequest = balance.LeastRequest{Choices: 4, ActiveRequestBias: 0.5}
			s.Balancer.SlowStart = balance.SlowStart{Window: time.Minute, Aggression: 1, MinWeightPercent: 20}
			s.Balancer.PanicThreshold = 0
		}},
		{"maglev", func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_MAGLEV
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(251)}}
			c.TypedExtensionProtocolOptions = httpOptionsOf(&httpv3.HttpProtocolOptions{HashPolicy: []*routev3.RouteAction_HashPolicy{
				headerHash("x-user", true),
				{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: "session"}}, Terminal: true},
				{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
					ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
				}},
			}})
		}, func(s *upstream.Settings) {
			s.Balancer.Policy = balance.PolicyConsistentHash
			s.Balancer.Hash = balance.Hash{TableSize: 251, Keys: []balance.HashKey{{Header: "x-user"}, {Cookie: "session"}, {Source: true}}}
		}},
		{"ring hash", func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_RING_HASH
			c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(1024)}}
			c.TypedExtensionProtocolOptions = httpOptionsOf(&httpv3.HttpProtocolOptions{HashPolicy: []*routev3.RouteAction_HashPolicy{headerHash("x-user", false)}})
		}, func(s *upstream.Settings) {
			s.Balancer.Policy = balance.PolicyConsistentHash
			s.Balancer.Hash.Keys = []balance.HashKey{{Header: "x-user"}}
		}},
		{"circuit breakers", func(c *clusterv3.Cluster) {
			c.CircuitBreakers = &clusterv3.CircuitBreakers{
				Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
					{MaxConnections: u32(10), MaxPendingRequests: u32(0), MaxRequests: u32(4_294_967_295), MaxRetries: u32(3)},
					{Priority: corev3.RoutingPriority_HIGH, MaxConnections: u32(1)},
				},
				PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: u32(5)}},
			}
		}, func(s *upstream.Settings) {
			s.Pool.MaxConnections, s.Pool.MaxPending, s.Pool.MaxRequests, s.Pool.MaxConnectionsPerEndpoint = 10, 0, upstream.MaxPoolLimit, 5
		}},
		{"connections, as older servers say it", func(c *clusterv3.Cluster) {
			c.MaxRequestsPerConnection = u32(100)                                          //nolint:staticcheck // that is what is tested
			c.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{IdleTimeout: second} //nolint:staticcheck // likewise
		}, func(s *upstream.Settings) {
			s.Pool.MaxRequestsPerConnection, s.Pool.IdleTimeout = 100, time.Second
		}},
		{"connections", func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = httpOptionsOf(&httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
				IdleTimeout: durationpb.New(0), MaxConnectionDuration: durationpb.New(time.Hour), MaxRequestsPerConnection: u32(7),
				MaxHeadersCount: u32(100),
			}})
		}, func(s *upstream.Settings) {
			s.Pool.MaxRequestsPerConnection, s.Pool.IdleTimeout, s.Pool.MaxAge = 7, 0, time.Hour
		}},
		{"outlier detection by its defaults", func(c *clusterv3.Cluster) {
			c.OutlierDetection = &clusterv3.OutlierDetection{}
		}, func(s *upstream.Settings) { s.Outlier = envoyOutlier() }},
		{"outlier detection", func(c *clusterv3.Cluster) {
			c.OutlierDetection = &clusterv3.OutlierDetection{
				Consecutive_5Xx: u32(7), EnforcingSuccessRate: u32(0), EnforcingLocalOriginSuccessRate: u32(0),
				ConsecutiveGatewayFailure: u32(4), EnforcingConsecutiveGatewayFailure: u32(100),
				SplitExternalLocalOriginErrors: true, ConsecutiveLocalOriginFailure: u32(6),
				EnforcingFailurePercentage: u32(100), EnforcingFailurePercentageLocalOrigin: u32(100), FailurePercentageThreshold: u32(70),
				FailurePercentageMinimumHosts: u32(0), FailurePercentageRequestVolume: u32(20),
				Interval: second, BaseEjectionTime: second, MaxEjectionTime: durationpb.New(time.Minute), MaxEjectionTimeJitter: second,
				MaxEjectionPercent: u32(30), AlwaysEjectOneHost: wrapperspb.Bool(true), SuccessfulActiveHealthCheckUnejectHost: wrapperspb.Bool(false),
			}
		}, func(s *upstream.Settings) {
			s.Outlier = upstream.Outlier{
				Consecutive5xx: 7, ConsecutiveGatewayErrors: 4, SplitLocalFailures: true, ConsecutiveLocalFailures: 6,
				SuccessRate:    upstream.SuccessRate{MinHosts: 5, MinRequests: 100},
				FailurePercent: upstream.FailurePercent{Threshold: 70, MinHosts: 1, MinRequests: 20},
				Interval:       time.Second, BaseEjectionTime: time.Second, MaxEjectionTime: time.Minute, EjectionJitter: time.Second,
				MaxEjectionPercent: 30, AlwaysEjectOne: true,
			}
		}},
		{"HTTP check by its defaults", func(c *clusterv3.Cluster) {
			c.HealthChecks = httpCheck(func(*corev3.HealthCheck, *corev3.HealthCheck_HttpHealthCheck) {})
		}, func(s *upstream.Settings) {
			s.Health = &upstream.Health{
				HTTP:     &upstream.HTTPCheck{Protocol: registry.ProtocolHTTP, Path: "/healthz", Host: "c", Method: "GET", StrictStatus: true, Statuses: []upstream.StatusRange{{From: 200, To: 200}}},
				Interval: 5 * time.Second, NoTrafficInterval: time.Minute, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
			}
		}},
		{"HTTP check", func(c *clusterv3.Cluster) {
			c.HealthChecks = httpCheck(func(h *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) {
				k.Host, k.Method = "health.test", corev3.RequestMethod_HEAD
				k.ExpectedStatuses = []*typev3.Int64Range{{Start: 200, End: 300}, {Start: 401, End: 402}}
				h.IntervalJitter, h.IntervalJitterPercent, h.InitialJitter = second, 20, second
				h.NoTrafficInterval = durationpb.New(30 * time.Second)
			})
		}, func(s *upstream.Settings) {
			s.Health = &upstream.Health{
				HTTP: &upstream.HTTPCheck{
					Protocol: registry.ProtocolHTTP,
					Path:     "/healthz", Host: "health.test", Method: "HEAD", StrictStatus: true,
					Statuses: []upstream.StatusRange{{From: 200, To: 299}, {From: 401, To: 401}},
				},
				Interval: 5 * time.Second, NoTrafficInterval: 30 * time.Second, Timeout: time.Second,
				Jitter: time.Second, JitterPercent: 20, InitialJitter: time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
			}
		}},
		{"gRPC check", func(c *clusterv3.Cluster) {
			c.HealthChecks = httpCheck(func(h *corev3.HealthCheck, _ *corev3.HealthCheck_HttpHealthCheck) {
				h.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{
					GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{ServiceName: "users", Authority: "users.test"},
				}
			})
		}, func(s *upstream.Settings) {
			s.Health = &upstream.Health{
				GRPC:     &upstream.GRPCCheck{Service: "users", Authority: "users.test"},
				Interval: 5 * time.Second, NoTrafficInterval: time.Minute, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
			}
		}},
		{"TCP check", func(c *clusterv3.Cluster) {
			c.HealthChecks = httpCheck(func(h *corev3.HealthCheck, _ *corev3.HealthCheck_HttpHealthCheck) {
				h.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}}
			})
		}, func(s *upstream.Settings) {
			s.Health = &upstream.Health{
				TCP:      &upstream.TCPCheck{},
				Interval: 5 * time.Second, NoTrafficInterval: time.Minute, Timeout: time.Second, HealthyAfter: 2, UnhealthyAfter: 3,
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := edsCluster("c")
			tc.in(c)
			got, err := decodeCluster("c", pack(c))
			if err != nil {
				t.Fatal(err)
			}
			var want *upstream.Settings
			if tc.want != nil {
				s := upstream.DefaultSettings()
				tc.want(&s)
				want = &s
			}
			if diff := cmp.Diff(want, got.cfg.Settings); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClusterSettingsThatCannotBeDoneAreRefused(t *testing.T) {
	outlier := func(o *clusterv3.OutlierDetection) func(*clusterv3.Cluster) {
		return func(c *clusterv3.Cluster) { c.OutlierDetection = o }
	}
	check := func(change func(*corev3.HealthCheck, *corev3.HealthCheck_HttpHealthCheck)) func(*clusterv3.Cluster) {
		return func(c *clusterv3.Cluster) { c.HealthChecks = httpCheck(change) }
	}
	hash := func(policies ...*routev3.RouteAction_HashPolicy) func(*clusterv3.Cluster) {
		return func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_MAGLEV
			c.TypedExtensionProtocolOptions = httpOptionsOf(&httpv3.HttpProtocolOptions{HashPolicy: policies})
		}
	}
	for name, tc := range map[string]struct {
		change func(*clusterv3.Cluster)
		want   string
	}{
		"a policy of the server's": {
			func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG },
			"lb_policy: LOAD_BALANCING_POLICY_CONFIG is not supported",
		},
		"a hash without keys": {
			func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_RING_HASH },
			"lb_policy: a hash needs hash_policy in typed_extension_protocol_options",
		},
		"keys that are mixed": {hash(headerHash("a", false), headerHash("b", false)), "hash_policy[0]: is not terminal"},
		"a key of the query": {hash(&routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: "q"},
		}}), "hash_policy[0]: query_parameter is not supported"},
		"a cookie that is made": {hash(&routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{
			Cookie: &routev3.RouteAction_HashPolicy_Cookie{Name: "c", Ttl: durationpb.New(0)},
		}}), "hash_policy[0].cookie: ttl is not supported"},
		"a table that is no prime": {func(c *clusterv3.Cluster) {
			hash(headerHash("a", false))(c)
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(1000)}}
		}, "expected a prime"},
		"a bounded hash": {func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
				ConsistentHashingLbConfig: &clusterv3.Cluster_CommonLbConfig_ConsistentHashingLbConfig{HashBalanceFactor: u32(150)},
			}
		}, "common_lb_config.consistent_hashing_lb_config: hash_balance_factor is not supported"},
		"zone aware": {func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
				LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{}},
			}
		}, "common_lb_config: zone_aware_lb_config is not supported"},
		"half a percent": {func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0.5}}
		}, "0.5 is not supported: write a whole number of percent"},
		"no connection at all": {func(c *clusterv3.Cluster) {
			c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: u32(0)}}}
		}, "circuit_breakers: maxConnections: expected 1 to"},
		"pools": {func(c *clusterv3.Cluster) {
			c.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxConnectionPools: u32(1)}}}
		}, "circuit_breakers.thresholds: max_connection_pools is not supported"},
		"requests of an endpoint": {func(c *clusterv3.Cluster) {
			c.CircuitBreakers = &clusterv3.CircuitBreakers{PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRequests: u32(1)}}}
		}, "circuit_breakers.per_host_thresholds: max_requests is not supported"},
		"streams": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = httpOptionsOf(&httpv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxStreamDuration: durationpb.New(time.Second)},
			})
		}, "common_http_protocol_options: max_stream_duration is not supported"},
		"some of the cases": {outlier(&clusterv3.OutlierDetection{EnforcingConsecutive_5Xx: u32(50)}), "outlier_detection.enforcing_consecutive_5xx: 50 is not supported"},
		"a short interval":  {outlier(&clusterv3.OutlierDetection{Interval: durationpb.New(time.Millisecond)}), "outlier_detection.interval: 1ms is not supported"},
		"half of the rates": {outlier(&clusterv3.OutlierDetection{SplitExternalLocalOriginErrors: true, EnforcingSuccessRate: u32(0)}), "enforcing_local_origin_success_rate: differs"},
		"degraded":          {outlier(&clusterv3.OutlierDetection{DetectDegradedHosts: wrapperspb.Bool(true)}), "detect_degraded_hosts is not supported"},
		"two checks": {func(c *clusterv3.Cluster) {
			c.HealthChecks = append(httpCheck(func(*corev3.HealthCheck, *corev3.HealthCheck_HttpHealthCheck) {}), c.HealthChecks...)
			c.HealthChecks = append(c.HealthChecks, c.HealthChecks[0])
		}, "health_checks: 2 are not supported"},
		"over HTTP/3": {check(func(_ *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) {
			k.CodecClientType = typev3.CodecClientType_HTTP3
		}), "codec_client_type HTTP3 is not supported"},
		"an interim status": {check(func(_ *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) {
			k.ExpectedStatuses = []*typev3.Int64Range{{Start: 100, End: 300}}
		}), "expected_statuses[0]: [100, 300) is not within"},
		"no path": {check(func(_ *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) { k.Path = "healthz" }), "is not a path such as /healthz"},
		"a body": {check(func(_ *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) {
			k.Send = &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: "00"}}
		}), "http_health_check: send is not supported"},
		"retriable statuses": {check(func(_ *corev3.HealthCheck, k *corev3.HealthCheck_HttpHealthCheck) {
			k.RetriableStatuses = []*typev3.Int64Range{{Start: 500, End: 501}}
		}), "retriable_statuses is not supported"},
		"edges": {check(func(h *corev3.HealthCheck, _ *corev3.HealthCheck_HttpHealthCheck) {
			h.UnhealthyInterval = durationpb.New(time.Second)
		}), "health_checks[0]: unhealthy_interval is not supported"},
		"bytes over TCP": {check(func(h *corev3.HealthCheck, _ *corev3.HealthCheck_HttpHealthCheck) {
			h.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{Send: &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: "00"}}}}
		}), "tcp_health_check: send is not supported"},
		"connections that are cut": {func(c *clusterv3.Cluster) { c.CloseConnectionsOnHostHealthFailure = true }, "close_connections_on_host_health_failure is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			c := edsCluster("c")
			tc.change(c)
			if _, err := decodeCluster("c", pack(c)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want …%s…", err, tc.want)
			}
		})
	}
}

func TestEndpointsSayHowTheyAreChecked(t *testing.T) {
	a := assignmentOf("e", "10.0.0.1:80")
	e := a.Endpoints[0].LbEndpoints[0]
	e.GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{PortValue: 81, Hostname: "h.test", DisableActiveHealthCheck: true}
	version, err := structpb.NewStruct(map[string]any{"version": "v2"})
	if err != nil {
		t.Fatal(err)
	}
	e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"outrigger": version}}
	got, err := decodeEndpoints("e", pack(a))
	if err != nil {
		t.Fatal(err)
	}
	if g := got[0]; g.HealthPort != 81 || g.HealthHost != "h.test" || !g.Unchecked || g.Version != "v2" {
		t.Errorf("endpoint %+v", g)
	}
	e.GetEndpoint().HealthCheckConfig.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}
	if _, err := decodeEndpoints("e", pack(a)); err == nil || !strings.Contains(err.Error(), "health_check_config: address is not supported") {
		t.Errorf("error %v", err)
	}
}
