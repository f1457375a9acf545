package xds

import (
	"fmt"
	"math"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

var (
	routeConfigFields = allow("name virtual_hosts",
		`validate_clusters max_direct_response_body_size_bytes most_specific_header_mutations_wins
		ignore_port_in_host_matching metadata`)
	virtualHostFields = allow("name domains routes require_tls",
		`virtual_clusters include_request_attempt_count include_attempt_count_in_response retry_policy
		retry_policy_typed_config hedge_policy include_is_timeout_retry_header per_request_buffer_limit_bytes
		request_body_buffer_limit metadata`)
	routeFields = allow("name match route direct_response",
		"metadata decorator tracing per_request_buffer_limit_bytes stat_prefix request_body_buffer_limit")
	routeActionFields = allow("cluster weighted_clusters timeout max_stream_duration",
		`cluster_not_found_response_code idle_timeout flush_timeout early_data_policy retry_policy
		retry_policy_typed_config priority hash_policy max_grpc_timeout grpc_timeout_offset upgrade_configs hedge_policy`)
	maxStreamDurationFields = allow("max_stream_duration", "grpc_timeout_header_max grpc_timeout_header_offset")
	weightedClusterFields   = allow("clusters", "total_weight")
	clusterWeightFields     = allow("name weight", "")
	directResponseFields    = allow("status body", "")
)

func decodeRoutes(name string, body *anypb.Any) (*route.Config, error) {
	var rc routev3.RouteConfiguration
	if err := unpack(body, &rc); err != nil {
		return nil, err
	}
	var p problems
	p.named(rc.GetName(), name)
	cfg := decodeRouteConfig(&p, "", &rc)
	if err := p.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func decodeRouteConfig(p *problems, at string, rc *routev3.RouteConfiguration) *route.Config {
	p.check(at, rc, routeConfigFields)
	cfg := &route.Config{Name: rc.GetName()}
	owner := map[string]string{} // virtual host by domain
	for i, vh := range rc.GetVirtualHosts() {
		at := join(at, fmt.Sprintf("virtual_hosts[%d]", i))
		p.check(at, vh, virtualHostFields)
		if vh.GetRequireTls() != routev3.VirtualHost_NONE {
			p.addf(at, "require_tls is not supported")
		}
		v := route.VirtualHost{Name: vh.GetName(), Domains: decodeDomains(p, at, vh, owner)}
		for j, r := range vh.GetRoutes() {
			v.Routes = append(v.Routes, decodeRoute(p, fmt.Sprintf("%s.routes[%d]", at, j), r))
		}
		cfg.VirtualHosts = append(cfg.VirtualHosts, v)
	}
	return cfg
}

// decodeDomains normalizes domains: lower case, and without a port, which the
// listener stands for. Two virtual hosts cannot share one.
func decodeDomains(p *problems, at string, vh *routev3.VirtualHost, owner map[string]string) []string {
	var out []string
	for _, d := range vh.GetDomains() {
		host := strings.ToLower(d)
		if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
			host = host[:i]
		}
		rest := strings.TrimPrefix(host, "*.")
		if host == "" || host != "*" && (rest == "" || strings.Contains(rest, "*")) {
			p.addf(at, "domain %q is not supported: it is an exact name, *.suffix or *", d)
			continue
		}
		other, taken := owner[host]
		switch {
		case !taken:
			owner[host] = vh.GetName()
			out = append(out, host)
		case other != vh.GetName():
			p.addf(at, "domain %q is that of virtual host %q too", d, other)
		}
	}
	return out
}

func decodeRoute(p *problems, at string, r *routev3.Route) route.Route {
	p.check(at, r, routeFields)
	out := route.Route{Name: r.GetName(), Match: decodeMatch(p, at+".match", r.GetMatch())}
	switch {
	case r.GetRoute() != nil:
		decodeAction(p, at+".route", r.GetRoute(), &out)
	case r.GetDirectResponse() != nil:
		out.Status = decodeDirectResponse(p, at+".direct_response", r.GetDirectResponse())
	case r.GetAction() == nil:
		p.addf(at, "has no action")
	}
	return out
}

func decodeDirectResponse(p *problems, at string, d *routev3.DirectResponseAction) int {
	p.check(at, d, directResponseFields)
	status := d.GetStatus()
	if status < 200 || status > 599 {
		p.addf(at, "status %d is not one of a final response", status)
		return 0
	}
	// An error's body is the proxy's own; any other is content.
	if d.GetBody() != nil && status < 400 {
		p.addf(at, "body is not supported with status %d", status)
	}
	return int(status)
}

func decodeAction(p *problems, at string, a *routev3.RouteAction, out *route.Route) {
	p.check(at, a, routeActionFields)
	limit := a.GetTimeout()
	if d := a.GetMaxStreamDuration(); d != nil {
		p.check(at+".max_stream_duration", d, maxStreamDurationFields)
		if limit == nil {
			limit = d.GetMaxStreamDuration()
		}
	}
	out.Timeout = decodeDuration(p, at+".timeout", limit)
	switch {
	case a.GetWeightedClusters() != nil:
		out.Clusters = decodeWeighted(p, at+".weighted_clusters", a.GetWeightedClusters())
	case a.GetCluster() != "":
		out.Clusters = []route.WeightedCluster{{Name: a.GetCluster(), Weight: 1}}
	case a.GetClusterSpecifier() == nil:
		p.addf(at, "has no cluster")
	}
}

func decodeWeighted(p *problems, at string, w *routev3.WeightedCluster) []route.WeightedCluster {
	p.check(at, w, weightedClusterFields)
	var out []route.WeightedCluster
	var sum uint64
	for i, c := range w.GetClusters() {
		at := fmt.Sprintf("%s.clusters[%d]", at, i)
		p.check(at, c, clusterWeightFields)
		if c.GetName() == "" {
			p.addf(at, "has no name")
		}
		if c.GetWeight() == nil {
			p.addf(at, "has no weight")
		}
		weight := c.GetWeight().GetValue()
		sum += uint64(weight)
		if weight > 0 { // one without a share is never chosen, and need not be known
			out = append(out, route.WeightedCluster{Name: c.GetName(), Weight: weight})
		}
	}
	if sum == 0 || sum > math.MaxUint32 {
		p.addf(at, "the sum of the weights is %d, it must be from 1 to %d", sum, uint32(math.MaxUint32))
	}
	return out
}

func decodeDuration(p *problems, at string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if err := d.CheckValid(); err != nil {
		p.addf(at, "%v", err)
		return 0
	}
	if d.AsDuration() < 0 {
		p.addf(at, "%s is negative", d.AsDuration())
	}
	return d.AsDuration()
}

func join(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}
