package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// DefaultInterval is from one run to the next.
const DefaultInterval = time.Minute

// commonKeys are the keys of an entry that do not depend on its kind.
var commonKeys = []string{"name", "interval", "canaries"}

// later are keys that the format knows and this version does not carry.
var later = []string{"netbox", "blueking", "servicenow", "rest", "sql", "httpsd", "consul", "rate", "page", "fullEvery"}

var sourceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// UnmarshalConf takes the entry as it is: its keys depend on the kinds, which
// decodeSources has.
func (s *Source) UnmarshalConf(conf.Node) error { return nil }

// common is what every entry may say.
type common struct {
	Name     string
	Interval time.Duration
	Canaries []string
}

// SetDefaults sets the interval.
func (c *common) SetDefaults() { c.Interval = DefaultInterval }

// Validate checks what does not depend on the kind.
func (c *common) Validate() error {
	var errs []error
	if !sourceName.MatchString(c.Name) {
		errs = append(errs, conf.FieldErrorf("name", "expected up to 63 of a-z, 0-9 and '-', with a letter or digit at both ends, found %q", c.Name))
	}
	if c.Interval < time.Second {
		errs = append(errs, conf.FieldErrorf("interval", "%v is too short, 1s is the least", c.Interval))
	}
	for i, canary := range c.Canaries {
		if canary == "" {
			errs = append(errs, conf.FieldErrorf(fmt.Sprintf("canaries[%d]", i), "must not be empty"))
		}
	}
	return errors.Join(errs...)
}

// decodeSources reads the list of sources. Mistakes are conf.Errors.
func decodeSources(list conf.Node, kinds []source.Kind) ([]Source, error) {
	var sources []Source
	var errs []error
	for i, item := range list.Items() {
		s, err := decodeSource(item, kinds)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if i > 0 {
			errs = append(errs, item.Errorf("%s: one source is all that this version carries: run a cmdb-sync for each", item.Path()))
		}
		sources = append(sources, s)
	}
	return sources, conf.Join(errs...)
}

func decodeSource(item conf.Node, kinds []source.Kind) (Source, error) {
	if item.Kind() != conf.Map {
		return Source{}, item.Errorf("%s: expected a map such as {name: idc, csv: {path: hosts.csv}}, found %s", item.Path(), item.Kind())
	}
	known, rest := item.Split(commonKeys...)
	var c common
	c.SetDefaults()
	errs := []error{known.Decode(&c)}

	names := kindNames(kinds)
	var s Source
	for _, f := range rest.Fields() {
		i := slices.Index(names, f.Key)
		switch {
		case i < 0 && slices.Contains(later, f.Key):
			errs = append(errs, &conf.Error{Pos: f.KeyPos, Msg: fmt.Sprintf("%s: %s is not carried by this version, which has the sources %s", item.Path(), f.Key, strings.Join(names, ", "))})
		case i < 0:
			near := conf.Nearest(f.Key, append(slices.Clone(commonKeys), names...))
			if near != "" {
				near = fmt.Sprintf(", did you mean %q?", near)
			}
			errs = append(errs, &conf.Error{Pos: f.KeyPos, Msg: fmt.Sprintf("%s: unknown key %q%s", item.Path(), f.Key, near)})
		case s.kind.New != nil:
			errs = append(errs, &conf.Error{Pos: f.KeyPos, Msg: fmt.Sprintf("%s: a source is of one kind, and %s is given already", item.Path(), s.kind.Name)})
		default:
			s.kind, s.node = kinds[i], f.Value
			// Made once to be checked: a source does no I/O before its first fetch.
			_, err := s.kind.New(s.node, source.Env{})
			errs = append(errs, err)
		}
	}
	if s.kind.New == nil && conf.Join(errs...) == nil {
		errs = append(errs, item.Errorf("%s: names no kind of source, known are %s", item.Path(), strings.Join(names, ", ")))
	}
	if err := conf.Join(errs...); err != nil {
		return Source{}, err
	}
	s.Name, s.Interval, s.Canaries = c.Name, c.Interval, c.Canaries
	return s, nil
}

// kindOf is the kind of an entry that may be wrong otherwise.
func kindOf(item conf.Node, kinds []source.Kind) (source.Kind, conf.Node, bool) {
	for _, k := range kinds {
		if n := item.Field(k.Name); !n.IsZero() {
			return k, n, true
		}
	}
	return source.Kind{}, conf.Node{}, false
}

func kindNames(kinds []source.Kind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Name
	}
	return names
}
