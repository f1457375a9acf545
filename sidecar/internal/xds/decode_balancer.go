package xds

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/outrigger-mesh/outrigger/internal/balance"
)

var (
	leastRequestFields = allow("choice_count active_request_bias slow_start_config", "")
	roundRobinFields   = allow("slow_start_config", "")
	slowStartFields    = allow("slow_start_window aggression min_weight_percent", "")
	ringHashFields     = allow("hash_function", "minimum_ring_size maximum_ring_size")
	maglevFields       = allow("table_size", "")
	commonLBFields     = allow("healthy_panic_threshold locality_weighted_lb_config consistent_hashing_lb_config",
		"update_merge_window override_host_status")
	consistentFields   = allow("", "use_hostname_for_hashing")
	hashPolicyFields   = allow("header cookie connection_properties terminal", "")
	hashHeaderFields   = allow("header_name", "")
	hashCookieFields   = allow("name", "path")
	connectionFields   = allow("source_ip", "")
	runtimeDoubleField = allow("default_value", "runtime_key")
)

// decodeBalancer reads how an endpoint is chosen.
func decodeBalancer(p *problems, c *clusterv3.Cluster, o *httpv3.HttpProtocolOptions, b *balance.Config) {
	decodeCommonLB(p, c.GetCommonLbConfig(), b)
	switch c.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		b.Policy = balance.PolicyRoundRobin
		if l := c.GetRoundRobinLbConfig(); l != nil {
			p.check("round_robin_lb_config", l, roundRobinFields)
			decodeSlowStart(p, "round_robin_lb_config.slow_start_config", l.GetSlowStartConfig(), &b.SlowStart)
		}
	case clusterv3.Cluster_LEAST_REQUEST:
		b.Policy = balance.PolicyLeastRequest
		decodeLeastRequest(p, c.GetLeastRequestLbConfig(), b)
	case clusterv3.Cluster_RANDOM:
		b.Policy = balance.PolicyRandom
	case clusterv3.Cluster_RING_HASH:
		if l := c.GetRingHashLbConfig(); l != nil {
			p.check("ring_hash_lb_config", l, ringHashFields)
		}
		decodeHash(p, o, b)
	case clusterv3.Cluster_MAGLEV:
		if l := c.GetMaglevLbConfig(); l != nil {
			p.check("maglev_lb_config", l, maglevFields)
			if l.GetTableSize() != nil {
				b.Hash.TableSize = int(min(l.GetTableSize().GetValue(), 1<<30))
			}
		}
		decodeHash(p, o, b)
	default:
		p.addf("lb_policy", "%s is not supported", c.GetLbPolicy())
	}
}

func decodeLeastRequest(p *problems, l *clusterv3.Cluster_LeastRequestLbConfig, b *balance.Config) {
	if l == nil {
		return
	}
	at := "least_request_lb_config"
	p.check(at, l, leastRequestFields)
	b.LeastRequest.Choices = number(l.GetChoiceCount(), b.LeastRequest.Choices)
	b.LeastRequest.ActiveRequestBias = double(p, at+".active_request_bias", l.GetActiveRequestBias(), b.LeastRequest.ActiveRequestBias)
	decodeSlowStart(p, at+".slow_start_config", l.GetSlowStartConfig(), &b.SlowStart)
}

func decodeSlowStart(p *problems, at string, s *clusterv3.Cluster_SlowStartConfig, out *balance.SlowStart) {
	if s == nil {
		return
	}
	p.check(at, s, slowStartFields)
	out.Window = decodeDuration(p, at+".slow_start_window", s.GetSlowStartWindow())
	out.Aggression = double(p, at+".aggression", s.GetAggression(), out.Aggression)
	if s.GetMinWeightPercent() != nil {
		out.MinWeightPercent = percent(p, at+".min_weight_percent", s.GetMinWeightPercent())
	}
}

// double is the value of a field that Envoy could overrule at run time; here it
// is what it says.
func double(p *problems, at string, d *corev3.RuntimeDouble, unset float64) float64 {
	if d == nil {
		return unset
	}
	p.check(at, d, runtimeDoubleField)
	return d.GetDefaultValue()
}

// percent takes whole ones: no balancer can tell others apart.
func percent(p *problems, at string, v *typev3.Percent) int {
	n := int(v.GetValue())
	if float64(n) != v.GetValue() {
		p.addf(at, "%v is not supported: write a whole number of percent", v.GetValue())
	}
	return n
}

// decodeCommonLB reads what holds for every policy. The weights of localities
// are always kept to (see flatten), so that asking for it changes nothing.
func decodeCommonLB(p *problems, l *clusterv3.Cluster_CommonLbConfig, b *balance.Config) {
	if l == nil {
		return
	}
	at := "common_lb_config"
	p.check(at, l, commonLBFields)
	if l.GetHealthyPanicThreshold() != nil {
		b.PanicThreshold = percent(p, at+".healthy_panic_threshold", l.GetHealthyPanicThreshold())
	}
	if h := l.GetConsistentHashingLbConfig(); h != nil {
		p.check(at+".consistent_hashing_lb_config", h, consistentFields)
	}
}

// decodeHash takes the keys from the cluster's own hash policy. A ring is not
// made: Maglev's table gives the same promise, that a key stays where it is, and
// places it elsewhere than a ring would.
func decodeHash(p *problems, o *httpv3.HttpProtocolOptions, b *balance.Config) {
	b.Policy = balance.PolicyConsistentHash
	policies := o.GetHashPolicy()
	if len(policies) == 0 {
		p.addf("lb_policy", "a hash needs hash_policy in typed_extension_protocol_options: that of routes is not carried")
		return
	}
	for i, h := range policies {
		at := fmt.Sprintf("typed_extension_protocol_options.hash_policy[%d]", i)
		p.check(at, h, hashPolicyFields)
		if i < len(policies)-1 && !h.GetTerminal() {
			p.addf(at, "is not terminal: several keys are not mixed, the first one that the request has is taken")
		}
		b.Hash.Keys = append(b.Hash.Keys, decodeHashKey(p, at, h))
	}
}

func decodeHashKey(p *problems, at string, h *routev3.RouteAction_HashPolicy) (k balance.HashKey) {
	switch s := h.GetPolicySpecifier().(type) {
	case *routev3.RouteAction_HashPolicy_Header_:
		p.check(at+".header", s.Header, hashHeaderFields)
		k.Header = s.Header.GetHeaderName()
	case *routev3.RouteAction_HashPolicy_Cookie_:
		p.check(at+".cookie", s.Cookie, hashCookieFields)
		k.Cookie = s.Cookie.GetName()
	case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
		p.check(at+".connection_properties", s.ConnectionProperties, connectionFields)
		k.Source = s.ConnectionProperties.GetSourceIp()
	}
	return k
}
