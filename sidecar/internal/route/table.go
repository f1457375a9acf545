package route

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Builder makes the targets of a table: it knows the clusters and the chains.
type Builder struct {
	// Listener is the listener's name for metrics and logs: outbound, gateway...
	Listener string
	// Service is the service whose routes these are; empty where each route's
	// cluster is.
	Service string
	// Cluster is the picker of a cluster. A cluster that is not known yet gets
	// one that refuses.
	Cluster func(name string) middleware.Picker
	// Chains are the chains of a service; of the listener's own for an empty
	// name.
	Chains func(service string) *middleware.Chains
}

// Table is a compiled Config.
type Table struct {
	name     string
	exact    map[string]*virtualHost
	suffixes []suffix // longest first
	any      *virtualHost
	noHost   *middleware.Target
	noRoute  *middleware.Target
}

type suffix struct {
	tail string // with the dot that the star stands before
	host *virtualHost
}

type virtualHost struct {
	rules []rule
}

type rule struct {
	match  Match
	target *middleware.Target
}

// Compile makes the table. Errors name virtual host and route.
func Compile(c *Config, b Builder) (*Table, error) {
	t := &Table{name: c.Name, exact: map[string]*virtualHost{}}
	t.noHost = b.refusal("", http.StatusNotFound, middleware.ReasonUnknownHost,
		"no route of "+c.Name+" has this host: add it to the hostnames of an HTTPRoute, or send another Host")
	t.noRoute = b.refusal("", http.StatusNotFound, middleware.ReasonNoRoute,
		"no rule of "+c.Name+" for this host matches the request: add one to its HTTPRoute, or ask for another path")
	var errs []error
	for i := range c.VirtualHosts {
		vh := &c.VirtualHosts[i]
		host := &virtualHost{}
		for j := range vh.Routes {
			target, err := b.target(&vh.Routes[j])
			if err != nil {
				errs = append(errs, fmt.Errorf("virtual host %q, route %d (%s): %w", vh.Name, j, vh.Routes[j].Name, err))
				continue
			}
			host.rules = append(host.rules, rule{vh.Routes[j].Match, target})
		}
		for _, d := range vh.Domains {
			if err := t.addDomain(strings.ToLower(d), host); err != nil {
				errs = append(errs, fmt.Errorf("virtual host %q: %w", vh.Name, err))
			}
		}
	}
	slices.SortStableFunc(t.suffixes, func(a, b suffix) int { return len(b.tail) - len(a.tail) })
	return t, errors.Join(errs...)
}

func (t *Table) addDomain(domain string, host *virtualHost) error {
	switch {
	case domain == "*":
		if t.any != nil {
			return errors.New(`domain "*" stands twice`)
		}
		t.any = host
	case strings.HasPrefix(domain, "*."):
		tail := domain[1:]
		if slices.ContainsFunc(t.suffixes, func(s suffix) bool { return s.tail == tail }) {
			return fmt.Errorf("domain %q stands twice", domain)
		}
		t.suffixes = append(t.suffixes, suffix{tail, host})
	case domain == "" || strings.Contains(domain, "*"):
		return fmt.Errorf("%q is not a domain", domain)
	default:
		if t.exact[domain] != nil {
			return fmt.Errorf("domain %q stands twice", domain)
		}
		t.exact[domain] = host
	}
	return nil
}

// Match is the target of a request: a refusing one where no route matches.
// host is the authority without its port, in lower case (see Host).
func (t *Table) Match(host []byte, r *middleware.Request) *middleware.Target {
	vh := t.host(host)
	if vh == nil {
		return t.noHost
	}
	for i := range vh.rules {
		if vh.rules[i].match.matches(r) {
			return vh.rules[i].target
		}
	}
	return t.noRoute
}

func (t *Table) host(host []byte) *virtualHost {
	if vh := t.exact[string(host)]; vh != nil {
		return vh
	}
	for _, s := range t.suffixes {
		if len(host) > len(s.tail) && string(host[len(host)-len(s.tail):]) == s.tail {
			return s.host
		}
	}
	return t.any
}

// Host is an authority without its port, in lower case: appended to buf, so
// that the hot path needs no memory.
func Host(buf, authority []byte) []byte {
	host := authority
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && (host[0] != '[' || host[i-1] == ']') {
		host = host[:i]
	}
	for _, c := range host {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		buf = append(buf, c)
	}
	return bytes.TrimSuffix(buf, []byte{'.'})
}

func (b Builder) target(r *Route) (*middleware.Target, error) {
	switch {
	case r.Status != 0 && len(r.Clusters) > 0:
		return nil, errors.New("has both clusters and a status")
	case r.Status != 0:
		return b.refusal(r.Name, r.Status, middleware.ReasonRouteStatus, "this is what the route answers"), nil
	case len(r.Clusters) == 0:
		return nil, errors.New("has neither clusters nor a status")
	}
	service := b.Service
	if service == "" {
		service = r.Clusters[0].Name
	}
	t := &middleware.Target{
		Route:   &middleware.Route{Listener: b.Listener, Service: service, Name: r.Name},
		Timeout: r.Timeout,
	}
	t.Use(b.Chains(service))
	if len(r.Clusters) == 1 {
		picker := b.Cluster(r.Clusters[0].Name)
		t.Pick = func(*middleware.Exchange) (middleware.Picker, error) { return picker, nil }
		return t, nil
	}
	pick, err := weighted(r.Clusters, b.Cluster)
	t.Pick = pick
	return t, err
}

// weighted chooses one of several clusters for each exchange, by chance.
func weighted(clusters []WeightedCluster, lookup func(string) middleware.Picker) (func(*middleware.Exchange) (middleware.Picker, error), error) {
	var total uint64
	pickers := make([]middleware.Picker, len(clusters))
	sums := make([]uint64, len(clusters))
	for i, c := range clusters {
		total += uint64(c.Weight)
		sums[i] = total
		pickers[i] = lookup(c.Name)
	}
	if total == 0 {
		return nil, errors.New("the weights of its clusters sum up to 0")
	}
	return func(*middleware.Exchange) (middleware.Picker, error) {
		n := rand.Uint64N(total) //nolint:gosec // no secret
		for i, sum := range sums {
			if n < sum {
				return pickers[i], nil
			}
		}
		return pickers[len(pickers)-1], nil
	}, nil
}

func (b Builder) refusal(name string, status int, reason middleware.Reason, message string) *middleware.Target {
	t := Refusal(&middleware.Route{Listener: b.Listener, Service: b.Service, Name: name}, status, reason, message)
	t.Use(b.Chains(b.Service))
	return t
}

// Refusal is a target that answers instead of forwarding: the request passes
// the chain all the same, so that it is in log and metrics.
func Refusal(r *middleware.Route, status int, reason middleware.Reason, message string) *middleware.Target {
	err := &middleware.Reject{Status: status, Reason: reason, Message: message}
	return &middleware.Target{
		Route: r,
		Pick:  func(*middleware.Exchange) (middleware.Picker, error) { return nil, err },
	}
}
