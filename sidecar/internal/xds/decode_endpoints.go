package xds

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var (
	assignmentFields = allow("cluster_name endpoints policy", "")
	policyFields     = allow("", "overprovisioning_factor endpoint_stale_after weighted_priority_health")
	localityFields   = allow("locality lb_endpoints load_balancing_weight priority", "metadata proximity")
	lbEndpointFields = allow("endpoint health_status load_balancing_weight metadata", "")
	endpointFields   = allow("address health_check_config", "hostname additional_addresses observability_name")
	checkFields      = allow("port_value hostname disable_active_health_check", "")
	addressFields    = allow("protocol address port_value", "ipv4_compat")
)

// The bounds of one cluster's endpoints.
const (
	maxEndpoints = 100_000
	maxPriority  = 127 // of the API: [0, 128)
)

func decodeEndpoints(name string, body *anypb.Any) ([]upstream.EndpointConfig, error) {
	var a endpointv3.ClusterLoadAssignment
	if err := unpack(body, &a); err != nil {
		return nil, err
	}
	var p problems
	p.named(a.GetClusterName(), name)
	p.check("", &a, assignmentFields)
	if a.GetPolicy() != nil {
		p.check("policy", a.GetPolicy(), policyFields)
	}
	eps := decodeLocalities(&p, a.GetEndpoints())
	if err := p.err(); err != nil {
		return nil, err
	}
	return eps, nil
}

// decodeLocalities flattens localities. Where some of a priority's have a
// weight, those without get nothing, as with Envoy and gRPC; where none has,
// the endpoints' own weights are all there is.
func decodeLocalities(p *problems, localities []*endpointv3.LocalityLbEndpoints) []upstream.EndpointConfig {
	weighted := map[uint32]bool{}
	for _, l := range localities {
		if l.GetLoadBalancingWeight().GetValue() > 0 {
			weighted[l.GetPriority()] = true
		}
	}
	byPriority := map[uint32][]share{}
	var order []uint32
	seen := map[string]bool{}
	total := 0
	for i, l := range localities {
		at := fmt.Sprintf("endpoints[%d]", i)
		p.check(at, l, localityFields)
		priority := l.GetPriority()
		if priority > maxPriority {
			p.addf(at, "priority %d is above %d", priority, maxPriority)
			continue
		}
		if total += len(l.GetLbEndpoints()); total > maxEndpoints {
			p.addf(at, "more than %d endpoints", maxEndpoints)
			return nil
		}
		s := share{weight: uint64(l.GetLoadBalancingWeight().GetValue()), whole: weighted[priority]}
		s.endpoints = decodeLocality(p, at, l, seen)
		if s.whole && s.weight == 0 {
			continue
		}
		if _, ok := byPriority[priority]; !ok {
			order = append(order, priority)
		}
		byPriority[priority] = append(byPriority[priority], s)
	}
	var out []upstream.EndpointConfig
	for _, priority := range order {
		out = append(out, flatten(byPriority[priority])...)
	}
	return out
}

func decodeLocality(p *problems, at string, l *endpointv3.LocalityLbEndpoints, seen map[string]bool) []upstream.EndpointConfig {
	out := make([]upstream.EndpointConfig, 0, len(l.GetLbEndpoints()))
	loc := l.GetLocality()
	for j, e := range l.GetLbEndpoints() {
		at := fmt.Sprintf("%s.lb_endpoints[%d]", at, j)
		p.check(at, e, lbEndpointFields)
		p.check(at+".endpoint", e.GetEndpoint(), endpointFields)
		addr, err := decodeAddress(e.GetEndpoint().GetAddress())
		if err != nil {
			p.addf(at, "%v", err)
			continue
		}
		if seen[addr] {
			p.addf(at, "address %s is there twice", addr)
		}
		seen[addr] = true
		weight := uint32(1)
		if w := e.GetLoadBalancingWeight(); w != nil {
			weight = max(w.GetValue(), 1)
		}
		check := e.GetEndpoint().GetHealthCheckConfig()
		if check != nil {
			p.check(at+".endpoint.health_check_config", check, checkFields)
		}
		out = append(out, upstream.EndpointConfig{
			Address:  addr,
			Locality: registry.Locality{Region: loc.GetRegion(), Zone: loc.GetZone(), Subzone: loc.GetSubZone()},
			Priority: l.GetPriority(),
			Weight:   weight,
			Status:   decodeStatus(e.GetHealthStatus()),
			Version:  e.GetMetadata().GetFilterMetadata()["outrigger"].GetFields()["version"].GetStringValue(),

			HealthPort: uint16(min(check.GetPortValue(), math.MaxUint16)), //nolint:gosec // bounded
			HealthHost: check.GetHostname(),
			Unchecked:  check.GetDisableActiveHealthCheck(),
		})
	}
	return out
}

func decodeStatus(s corev3.HealthStatus) registry.Status {
	switch s {
	case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
		return registry.StatusUp
	case corev3.HealthStatus_DRAINING:
		return registry.StatusDraining
	}
	return registry.StatusDown
}

// decodeAddress takes an IP or a host name: the machines of a registry may be
// known by name only.
func decodeAddress(a *corev3.Address) (string, error) {
	s := a.GetSocketAddress()
	if s == nil {
		return "", fmt.Errorf("address of the form %T is not supported", a.GetAddress())
	}
	var p problems
	p.check("address", s, addressFields)
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		p.addf("address", "protocol %s is not supported", s.GetProtocol())
	}
	if err := p.err(); err != nil {
		return "", err
	}
	addr := net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
	if err := registry.CheckHostPort(addr, false); err != nil {
		return "", fmt.Errorf("address: %w", err)
	}
	if ip, err := netip.ParseAddr(s.GetAddress()); err == nil && ip.IsUnspecified() {
		return "", fmt.Errorf("address %s is nobody's", addr)
	}
	return addr, nil
}

// share is one locality's part of a priority.
type share struct {
	endpoints []upstream.EndpointConfig
	weight    uint64
	whole     bool // weight is of the locality as a whole, else of each endpoint
}

// flatten gives each endpoint its part of its locality's weight: the
// locality's times its own, over the sum of those that are up there. The
// common case, in which a locality weighs what its endpoints sum up to, comes
// out in the endpoints' own weights; parts that are no integers are scaled.
func flatten(shares []share) []upstream.EndpointConfig {
	var out []upstream.EndpointConfig
	var parts []float64
	exact, largest := true, 0.0
	for _, s := range shares {
		var sum uint64
		for _, e := range s.endpoints {
			if e.Status == registry.StatusUp {
				sum += uint64(e.Weight)
			}
		}
		for _, e := range s.endpoints {
			part := float64(e.Weight)
			if s.whole && sum > 0 {
				part *= float64(s.weight) / float64(sum)
				exact = exact && s.weight*uint64(e.Weight)%sum == 0
			}
			largest = max(largest, part)
			parts = append(parts, part)
			out = append(out, e)
		}
	}
	const scale = 1 << 16
	for i := range out {
		part := parts[i]
		if !exact || largest > math.MaxUint32 {
			part *= scale / largest
		}
		out[i].Weight = uint32(max(1, math.Round(part)))
	}
	return out
}
