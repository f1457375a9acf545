package middleware

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Lists is the content of a middleware file: for each direction the entries in
// the order in which they run, and what is different for single services. A
// gateway runs Gateway in place of Inbound.
type Lists struct {
	Inbound  List
	Outbound List
	Gateway  List
	// Services are the services that have lists of their own, by the name that
	// the file gives them.
	Services map[string]ServiceLists
}

// ServiceLists is the lists of one service, merged over the direction's.
type ServiceLists struct {
	Pos      conf.Pos // of the service's name in the file
	Inbound  List
	Outbound List
}

// For is the list of a direction, for the service of that name; the empty name,
// and one that the file does not know, get the direction's own.
func (l Lists) For(direction, service string) List {
	own, known := l.Services[service]
	switch direction {
	case Inbound:
		if known {
			return own.Inbound
		}
		return l.Inbound
	case Outbound:
		if known {
			return own.Outbound
		}
		return l.Outbound
	case Gateway:
		return l.Gateway
	}
	return nil
}

// List is the entries of one chain.
type List []Entry

// Entry is one middleware of a list, decoded and validated.
type Entry struct {
	ID   string
	Kind string
	Pos  conf.Pos // where it stands; of a merged entry, in the service's list
	Base conf.Pos // of a merged entry: where it stands in the direction's list

	build builder
}

// ParseLists decodes a middleware file. All its errors are returned at once.
func ParseLists(n conf.Node, kinds []Kind) (Lists, error) {
	var raw struct {
		Inbound  conf.Node
		Outbound conf.Node
		Gateway  conf.Node
		Services conf.Node
	}
	err := n.Decode(&raw)
	inbound, err1 := parseList(raw.Inbound, kinds)
	outbound, err2 := parseList(raw.Outbound, kinds)
	gateway, err3 := parseList(raw.Gateway, kinds)
	lists := Lists{Inbound: inbound.list(), Outbound: outbound.list(), Gateway: gateway.list()}
	services, err4 := parseServices(raw.Services, kinds, inbound, outbound)
	lists.Services = services
	return lists, conf.Join(err, err1, err2, err3, err4)
}

// ParseList decodes one list: each entry is the name of a kind, or a map of one
// name to its configuration. The keys id (another name for the entry, so that a
// kind can stand twice) and off (true leaves it out) are understood for every
// kind; before and after (the id of another entry) in a service's list only.
func ParseList(n conf.Node, kinds []Kind) (List, error) {
	parsed, err := parseList(n, kinds)
	return parsed.list(), err
}

// parsedList is a list with what is needed to lay another one over it: the
// entries that are off, too, and what each was decoded from.
type parsedList []parsedEntry

// list is what runs.
func (p parsedList) list() List {
	var l List
	for _, e := range p {
		if !e.off && !e.bad {
			l = append(l, e.Entry)
		}
	}
	return l
}

func (p parsedList) index(id string) int {
	return slices.IndexFunc(p, func(e parsedEntry) bool { return e.ID == id })
}

func parseList(n conf.Node, kinds []Kind) (parsedList, error) {
	raw, err := readList(n, kinds)
	errs := []error{err}
	var list parsedList
	for _, e := range raw {
		if !e.place.IsZero() {
			errs = append(errs, e.place.Errorf("%s: places what a service adds to a list; here the order of the file counts", e.place.Path()))
		}
		errs = append(errs, e.decode(kinds))
		list = append(list, e)
	}
	return list, conf.Join(errs...)
}

// Chains is a list that was built: one chain for each stage, and the policy.
type Chains struct {
	Request Handler    // ends in the Router
	Try     TryHandler // ends in the endpoint's transport
	Policy  TryPolicy  // nil: one attempt
	Entries []string   // ids in order
}

// Build makes the chains of the list, in e's direction.
func (l List) Build(e Env) (*Chains, error) {
	c := &Chains{}
	var request []Middleware
	var try []TryMiddleware
	var policies policyList
	var errs []error
	for _, entry := range l {
		env := e
		env.ID = entry.ID
		if env.Logger != nil {
			env.Logger = env.Logger.With("component", "middleware/"+entry.ID)
		}
		p, err := entry.build(env)
		if err == nil && p.Request == nil && p.Try == nil && p.Policy == nil {
			err = errNoParts
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: middleware %s: %w", entry.Pos, entry.ID, err))
			continue
		}
		if p.Request != nil {
			request = append(request, p.Request)
		}
		if p.Try != nil {
			try = append(try, p.Try)
		}
		if p.Policy != nil {
			policies = append(policies, p.Policy)
		}
		c.Entries = append(c.Entries, entry.ID)
	}
	c.Request = Chain(Router, request...)
	c.Try = TryChain(Transport, try...)
	switch len(policies) {
	case 0:
	case 1:
		c.Policy = policies[0]
	default:
		c.Policy = policies
	}
	return c, errors.Join(errs...)
}

// unknownKind is what is said of a name that is no kind's.
func unknownKind(item conf.Node, name string, kinds []Kind) error {
	all := make([]string, 0, len(kinds))
	for _, k := range kinds {
		all = append(all, k.Name)
	}
	slices.SortFunc(all, cmp.Compare)
	if near := conf.Nearest(name, all); near != "" {
		return item.Errorf("unknown middleware %q, did you mean %q? known: %s", name, near, strings.Join(all, ", "))
	}
	return item.Errorf("unknown middleware %q; known: %s", name, strings.Join(all, ", "))
}
