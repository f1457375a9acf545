package middleware

import (
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// parseServices decodes what a file says of single services, each merged over
// the lists of its directions.
func parseServices(n conf.Node, kinds []Kind, inbound, outbound parsedList) (map[string]ServiceLists, error) {
	if n.IsZero() || n.Kind() == conf.Null {
		return nil, nil
	}
	if n.Kind() != conf.Map {
		return nil, conf.Join(n.Errorf("%s: expected a map of services to their lists, found %s", n.Path(), n.Kind()))
	}
	services := map[string]ServiceLists{}
	var errs []error
	for _, f := range n.Fields() {
		if strings.TrimSpace(f.Key) == "" {
			errs = append(errs, &conf.Error{Pos: f.KeyPos, Msg: n.Path() + ": a service has a name"})
			continue
		}
		var raw struct {
			Inbound  conf.Node
			Outbound conf.Node
			Routes   conf.Node
		}
		err := f.Value.Decode(&raw)
		if !raw.Routes.IsZero() {
			errs = append(errs, raw.Routes.Errorf("%s: not in this version: lists of single routes; a service's inbound and outbound lists are", raw.Routes.Path()))
		}
		in, err1 := overlay(inbound, raw.Inbound, kinds)
		out, err2 := overlay(outbound, raw.Outbound, kinds)
		errs = append(errs, err, err1, err2)
		services[f.Key] = ServiceLists{Pos: f.KeyPos, Inbound: in.list(), Outbound: out.list()}
	}
	return services, conf.Join(errs...)
}

// overlay is base with the list at n laid over it: an entry with an id that base
// has is merged (see conf.Merge), and moved where it says so; another one is
// added, at its place or else at the end. Several that follow the same entry
// stand in the order of the file.
func overlay(base parsedList, n conf.Node, kinds []Kind) (parsedList, error) {
	over, err := readList(n, kinds)
	errs := []error{err}
	list := slices.Clone(base)
	behind := map[string]string{} // the last entry that was put behind the key's
	for _, e := range over {
		if e.bad {
			continue
		}
		i := list.index(e.ID)
		switch {
		case i < 0:
			errs = append(errs, e.decode(kinds))
			i = len(list)
			list = append(list, e)
		case list[i].bad:
			continue // whatever it is merged to is wrong for a reason that was said
		case list[i].Kind != e.Kind:
			errs = append(errs, &conf.Error{Pos: e.Pos, Msg: fmt.Sprintf("the id %q is taken by a %s (at %s), which a %s cannot be merged over: give this one an id of its own",
				e.ID, list[i].Kind, list[i].Pos, e.Kind)})
			continue
		default:
			e.Base, e.config = list[i].Pos, conf.Merge(list[i].config, e.config)
			errs = append(errs, e.decode(kinds))
			list[i] = e
		}
		if e.place.IsZero() {
			continue
		}
		to, err := list.destination(e, behind)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = move(list, i, to)
		if !e.before {
			behind[e.place.Text()] = e.ID
		}
	}
	return list, conf.Join(errs...)
}

// destination is the index in p, before anything is moved, that e is to be put
// at.
func (p parsedList) destination(e parsedEntry, behind map[string]string) (int, error) {
	target := e.place.Text()
	at := p.index(target)
	switch {
	case target == e.ID:
		return 0, e.place.Errorf("%s: an entry cannot stand %s itself", e.place.Path(), e.placeKey())
	case at < 0:
		ids := make([]string, 0, len(p))
		for _, other := range p {
			if other.ID != e.ID {
				ids = append(ids, other.ID)
			}
		}
		return 0, e.place.Errorf("%s: no middleware with the id %q is there, known are %s", e.place.Path(), target, strings.Join(ids, ", "))
	case e.before:
		return at, nil
	}
	if last, ok := behind[target]; ok && last != e.ID {
		at = max(at, p.index(last))
	}
	return at + 1, nil
}

// move puts the element at index from before the one at index to.
func move(p parsedList, from, to int) parsedList {
	e := p[from]
	p = slices.Delete(p, from, from+1)
	if to > from {
		to--
	}
	return slices.Insert(p, to, e)
}
