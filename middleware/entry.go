package middleware

import (
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// parsedEntry is an entry of a list with the parts of the file that it is made
// of.
type parsedEntry struct {
	Entry
	off    bool
	bad    bool      // was refused: it is kept so that what refers to it is understood
	config conf.Node // of the kind, merged where there was something to merge
	place  conf.Node // the value of before or after; zero without one
	before bool      // which of the two
}

// common is the keys that every entry has, whatever its kind.
type common struct {
	ID     string
	Off    *bool
	Before string
	After  string
}

var commonKeys = conf.Keys[common]()

// readList reads the entries of a list without decoding what is their kinds'.
// Entries that cannot be read are left out; their errors are returned.
func readList(n conf.Node, kinds []Kind) (parsedList, error) {
	if n.IsZero() || n.Kind() == conf.Null {
		return nil, nil
	}
	if n.Kind() != conf.List {
		return nil, conf.Join(n.Errorf("expected a list of middleware, found %s", n.Kind()))
	}
	var list parsedList
	var errs []error
	for _, item := range n.Items() {
		e, err := readEntry(item, kinds)
		if err != nil {
			errs = append(errs, err)
			if e.ID == "" {
				continue
			}
			e.bad = true
		} else if i := list.index(e.ID); i >= 0 {
			errs = append(errs, item.Errorf("middleware %q stands here a second time (first at %s): give one of them an id of its own", e.ID, list[i].Pos))
			continue
		}
		list = append(list, e)
	}
	return list, conf.Join(errs...)
}

// readEntry reads one entry. With an error it still has an ID where that much
// could be understood.
func readEntry(item conf.Node, kinds []Kind) (e parsedEntry, err error) {
	e.Pos = item.Pos()
	switch item.Kind() {
	case conf.String:
		e.Kind = item.Text()
	case conf.Map:
		fields := item.Fields()
		if len(fields) != 1 {
			return e, item.Errorf("expected one middleware with its configuration, found %d keys: write each as a list entry of its own", len(fields))
		}
		e.Kind, e.config = fields[0].Key, fields[0].Value
	default:
		return e, item.Errorf("expected the name of a middleware, or a map of its name to its configuration, found %s", item.Kind())
	}
	if !slices.ContainsFunc(kinds, func(k Kind) bool { return k.Name == e.Kind }) {
		return e, unknownKind(item, e.Kind, kinds)
	}
	own, rest := e.config.Split(commonKeys...)
	e.config = rest
	c := common{ID: e.Kind}
	if err := own.Decode(&c); err != nil {
		e.ID = e.Kind
		return e, err
	}
	e.ID = c.ID
	if c.ID == "" {
		e.ID = e.Kind
		return e, own.Field("id").Errorf("%s: expected a name", own.Field("id").Path())
	}
	if c.Off != nil {
		e.off = *c.Off
	}
	switch {
	case c.Before != "" && c.After != "":
		return e, own.Field("after").Errorf("%s: before is given, too: one place is enough", own.Field("after").Path())
	case c.Before != "":
		e.place, e.before = own.Field("before"), true
	case c.After != "":
		e.place = own.Field("after")
	}
	return e, nil
}

func (e *parsedEntry) placeKey() string {
	if e.before {
		return "before"
	}
	return "after"
}

// decode has the kind decode its configuration.
func (e *parsedEntry) decode(kinds []Kind) error {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == e.Kind })
	if i < 0 {
		return nil // was said when it was read
	}
	build, err := kinds[i].decode(e.config)
	if err != nil {
		e.bad = true
		return err
	}
	e.build = build
	return nil
}
