package middleware

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Lists is the content of a middleware file: for each direction the entries in
// the order in which they run. A gateway runs Gateway in place of Inbound.
type Lists struct {
	Inbound  List
	Outbound List
	Gateway  List
}

// List is the entries of one chain.
type List []Entry

// Entry is one middleware of a list, decoded and validated.
type Entry struct {
	ID   string
	Kind string
	Pos  conf.Pos

	build builder
}

// reserved are the keys of an entry that are not its kind's.
var reserved = []string{"id", "off"}

// ParseLists decodes a middleware file. All its errors are returned at once.
func ParseLists(n conf.Node, kinds []Kind) (Lists, error) {
	var raw struct {
		Inbound  conf.Node
		Outbound conf.Node
		Gateway  conf.Node
	}
	errs := []error{n.Decode(&raw)}
	var lists Lists
	for node, list := range map[*conf.Node]*List{&raw.Inbound: &lists.Inbound, &raw.Outbound: &lists.Outbound, &raw.Gateway: &lists.Gateway} {
		parsed, err := ParseList(*node, kinds)
		errs = append(errs, err)
		*list = parsed
	}
	return lists, conf.Join(errs...)
}

// ParseList decodes one list: each entry is the name of a kind, or a map of one
// name to its configuration. The keys id (another name for the entry, so that a
// kind can stand twice) and off (true leaves it out) are understood for every
// kind.
func ParseList(n conf.Node, kinds []Kind) (List, error) {
	if n.IsZero() || n.Kind() == conf.Null {
		return nil, nil
	}
	if n.Kind() != conf.List {
		return nil, conf.Join(n.Errorf("expected a list of middleware, found %s", n.Kind()))
	}
	var list List
	var errs []error
	ids := map[string]conf.Pos{}
	for _, item := range n.Items() {
		e, off, err := parseEntry(item, kinds)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if first, twice := ids[e.ID]; twice {
			errs = append(errs, item.Errorf("middleware %q stands here a second time (first at %s): give one of them an id of its own", e.ID, first))
			continue
		}
		ids[e.ID] = e.Pos
		if !off {
			list = append(list, e)
		}
	}
	return list, conf.Join(errs...)
}

func parseEntry(item conf.Node, kinds []Kind) (e Entry, off bool, err error) {
	e.Pos = item.Pos()
	var config conf.Node
	switch item.Kind() {
	case conf.String:
		e.Kind = item.Text()
	case conf.Map:
		fields := item.Fields()
		if len(fields) != 1 {
			return e, false, item.Errorf("expected one middleware with its configuration, found %d keys: write each as a list entry of its own", len(fields))
		}
		e.Kind, config = fields[0].Key, fields[0].Value
	default:
		return e, false, item.Errorf("expected the name of a middleware, or a map of its name to its configuration, found %s", item.Kind())
	}
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == e.Kind })
	if i < 0 {
		return e, false, item.Errorf("unknown middleware %q; known: %s", e.Kind, names(kinds))
	}
	common := struct {
		ID  string
		Off bool
	}{ID: e.Kind}
	own, rest := config.Split(reserved...)
	err1 := own.Decode(&common)
	build, err2 := kinds[i].decode(rest)
	if err := conf.Join(err1, err2); err != nil {
		return e, false, err
	}
	e.ID, e.build = common.ID, build
	return e, common.Off, nil
}

func names(kinds []Kind) string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.Name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
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
