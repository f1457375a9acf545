package translate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

// anyHost is the domain of every host.
const anyHost = "*"

// serviceRoutes is the route configuration of a service port.
func serviceRoutes(name registry.ServiceName, port registry.Port, world *mesh.Snapshot) *routev3.RouteConfiguration {
	n := name.PortName(port.Number)
	var entries []entry
	for _, r := range world.Routes {
		if slices.ContainsFunc(r.Parents, func(p object.Parent) bool { return p.Match(name, port) }) {
			entries = append(entries, entriesOf(r)...)
		}
	}
	vh := &routev3.VirtualHost{Name: n, Domains: []string{anyHost}}
	if len(entries) == 0 {
		vh.Routes = []*routev3.Route{{
			Name:   n,
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: to(n, 0)},
		}}
	} else {
		vh.Routes = routes(entries, world)
	}
	return &routev3.RouteConfiguration{Name: n, VirtualHosts: []*routev3.VirtualHost{vh}}
}

// gatewayRoutes is the route configuration of a gateway's listener: a virtual
// host for each hostname, by name.
func gatewayRoutes(g gatewayPort, world *mesh.Snapshot) *routev3.RouteConfiguration {
	byHost := map[string][]entry{}
	for _, r := range world.Routes {
		if !slices.ContainsFunc(r.Parents, g.has) {
			continue
		}
		hostnames := r.Hostnames
		if len(hostnames) == 0 {
			hostnames = []string{anyHost}
		}
		for _, h := range hostnames {
			byHost[h] = append(byHost[h], entriesOf(r)...)
		}
	}
	hosts := make([]string, 0, len(byHost))
	for h := range byHost {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, moreSpecific)
	rc := &routev3.RouteConfiguration{Name: g.name()}
	for i, h := range hosts {
		vh := &routev3.VirtualHost{Name: h, Domains: []string{h}}
		seen := map[entryID]struct{}{}
		for _, wider := range hosts[i:] {
			if !within(h, wider) {
				continue
			}
			// A route with both hostnames is here once, at the first.
			fresh := slices.DeleteFunc(slices.Clone(byHost[wider]), func(e entry) bool {
				_, ok := seen[e.entryID]
				seen[e.entryID] = struct{}{}
				return ok
			})
			vh.Routes = append(vh.Routes, routes(fresh, world)...)
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
	}
	return rc
}

// moreSpecific orders hostnames: exact ones first, then the longer first.
func moreSpecific(a, b string) int {
	return cmp.Or(
		-cmp.Compare(exactLength(a), exactLength(b)),
		-cmp.Compare(len(a), len(b)),
		strings.Compare(a, b),
	)
}

// exactLength is the length of a hostname that is no wildcard.
func exactLength(h string) int {
	if strings.HasPrefix(h, anyHost) {
		return 0
	}
	return len(h)
}

// within reports whether every host that a matches is matched by b too.
func within(a, b string) bool {
	if a == b || b == anyHost {
		return true
	}
	suffix, wild := strings.CutPrefix(b, anyHost)
	return wild && strings.HasSuffix(a, suffix)
}

// entry is one match of one rule: what becomes one route.
type entry struct {
	entryID
	name  string // of the object, rule and match
	match object.Match
}

type entryID struct {
	rule  *object.Rule
	match int
}

func entriesOf(r *object.HTTPRoute) []entry {
	var all []entry
	for i := range r.Rules {
		rule := &r.Rules[i]
		name := rule.Name
		if name == "" {
			name = fmt.Sprintf("rule-%d", i)
		}
		for j, m := range rule.Matches {
			all = append(all, entry{
				entryID: entryID{rule, j},
				name:    fmt.Sprintf("%s/%s/%s/match-%d", r.Namespace, r.Name, name, j),
				match:   m,
			})
		}
	}
	return all
}

// routes orders the entries of one hostname as the Gateway API has it: an exact
// path before a prefix, a longer prefix before a shorter, a method before none,
// more header matches before fewer, then more query matches. The API leaves
// regular expressions to the implementation: they stand between. Entries come
// in the order of their routes' age and name, which holds among equals.
func routes(entries []entry, world *mesh.Snapshot) []*routev3.Route {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(pathRank(a.match), pathRank(b.match)),
			-cmp.Compare(len(a.match.Path), len(b.match.Path)),
			-cmp.Compare(min(len(a.match.Method), 1), min(len(b.match.Method), 1)),
			-cmp.Compare(len(a.match.Headers), len(b.match.Headers)),
			-cmp.Compare(len(a.match.Query), len(b.match.Query)),
		)
	})
	all := make([]*routev3.Route, 0, len(sorted))
	for _, e := range sorted {
		r := &routev3.Route{Name: e.name, Match: routeMatch(e.match)}
		setAction(r, e.rule, world)
		all = append(all, r)
	}
	return all
}

func pathRank(m object.Match) int {
	switch m.PathKind {
	case object.PathExact:
		return 0
	case object.PathRegularExpression:
		return 1
	}
	return 2
}

// setAction sends the rule's requests to its backends.
func setAction(r *routev3.Route, rule *object.Rule, world *mesh.Snapshot) {
	weights := map[string]uint32{}
	var names []string // in the order of the rule
	found := false
	for _, b := range rule.Backends {
		if b.Weight == 0 {
			continue
		}
		name := b.ServicePort()
		if world.Service(b.Service).Port(b.Port) == nil {
			name = Blackhole
		} else {
			found = true
		}
		if _, ok := weights[name]; !ok {
			names = append(names, name)
		}
		weights[name] += b.Weight
	}
	if !found {
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
		return
	}
	action := to(names[0], rule.Timeout)
	if len(names) > 1 {
		split := &routev3.WeightedCluster{}
		for _, n := range names {
			split.Clusters = append(split.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name: n, Weight: wrapperspb.UInt32(min(weights[n], math.MaxUint32/uint32(len(names)))),
			})
		}
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
	}
	r.Action = &routev3.Route_Route{Route: action}
}

// to is the action that sends requests to a cluster. The time-out is always
// said: left out, Envoy's own would hold.
func to(cluster string, timeout time.Duration) *routev3.RouteAction {
	return &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          durationpb.New(timeout),
	}
}

// routeMatch is a match in xDS. A method is a header there.
func routeMatch(m object.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch {
	case m.PathKind == object.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case m.PathKind == object.PathRegularExpression:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Path)}
	case m.Path == "/":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerMatch(object.ValueMatch{Name: ":method", Value: m.Method}))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(h))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name:                         q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(q)},
		})
	}
	return out
}

func headerMatch(v object.ValueMatch) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 v.Name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(v)},
	}
}

func stringMatch(v object.ValueMatch) *matcherv3.StringMatcher {
	if v.Regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(v.Value)}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Value}}
}

func regex(s string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: s} }
