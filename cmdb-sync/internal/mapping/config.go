package mapping

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Expr is a CEL expression and its place in the configuration.
type Expr struct{ Node conf.Node }

// UnmarshalConf takes text alone: what YAML reads as a number or a boolean was
// hardly meant as an expression.
func (e *Expr) UnmarshalConf(n conf.Node) error {
	if n.Kind() != conf.String {
		return conf.FieldErrorf("", "expected a CEL expression over the record r, such as r.name, found %s", n.Kind())
	}
	e.Node = n
	return nil
}

// Given is whether there is an expression.
func (e Expr) Given() bool { return !e.Node.IsZero() }

// Config is what stands under map: an expression for each field of a host that
// the sync is to own. A field without one is left as it is.
type Config struct {
	Key       Expr // the source's own, stable id
	Address   Expr // one IP address, as text
	Addresses Expr // several, as a list of text
	Name      Expr // the host's name
	AssetID   Expr `yaml:"assetID"`
	Network   Expr
	Locality  Locality
	Status    *Status
	Labels    map[string]Expr
}

// Locality is from wide to narrow.
type Locality struct{ Region, Zone, Subzone Expr }

// Status turns the words of a source into what the mesh does.
type Status struct {
	From  Expr
	Table map[string]Action
	// Unknown is what to do about a word that the table does not have: keep
	// the status as it is (the default), up, or error, which quarantines.
	Unknown Unknown
}

// SetDefaults keeps what is unknown.
func (s *Status) SetDefaults() { s.Unknown = Keep }

// Action is what a status of the source asks for.
type Action string

// The actions.
const (
	Up     Action = "up"     // requests are sent there
	Drain  Action = "drain"  // no new requests, for as long as it lasts
	Down   Action = "down"   // no requests
	Remove Action = "remove" // drained first, then removed
)

// Validate refuses other words.
func (a *Action) Validate() error {
	known := []string{string(Up), string(Drain), string(Down), string(Remove)}
	if slices.Contains(known, string(*a)) {
		return nil
	}
	return conf.FieldErrorf("", "unknown action %q, known are up, drain, down, remove", string(*a))
}

// Unknown is what to do about a status that is not in the table.
type Unknown string

// What can be done about it.
const (
	Keep      Unknown = "keep"
	TakeAsUp  Unknown = "up"
	Refuse    Unknown = "error"
	unknowns          = "keep, up, error"
	maxLabels         = 64 // what the control plane keeps
)

// Validate refuses other words.
func (u *Unknown) Validate() error {
	switch *u {
	case Keep, TakeAsUp, Refuse:
		return nil
	}
	return conf.FieldErrorf("", "unknown word %q, known are %s", string(*u), unknowns)
}

// Validate says what is missing and what excludes each other.
func (c *Config) Validate() error {
	var errs []error
	if !c.Key.Given() {
		errs = append(errs, conf.FieldError("key", "is missing: an expression for the machine's stable id, such as r.id"))
	}
	if c.Address.Given() && c.Addresses.Given() {
		errs = append(errs, conf.FieldError("addresses", "give address, for one, or addresses, for a list, not both"))
	}
	if len(c.Labels) > maxLabels {
		errs = append(errs, conf.FieldErrorf("labels", "%d labels, %d are the most", len(c.Labels), maxLabels))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if err := checkLabelKey(key); err != nil {
			errs = append(errs, conf.FieldError(fmt.Sprintf("labels[%q]", key), err.Error()))
		}
	}
	return errors.Join(errs...)
}

// Validate wants an expression and a table.
func (s *Status) Validate() error {
	var errs []error
	if !s.From.Given() {
		errs = append(errs, conf.FieldError("from", "is missing: an expression for the status in the source's words"))
	}
	if len(s.Table) == 0 {
		errs = append(errs, conf.FieldError("table", "is missing: what each word of the source means, such as {active: up, maintenance: drain}"))
	}
	return errors.Join(errs...)
}

// Lenient is what a node that is not right has of expressions, so that those
// can be checked beside its other mistakes.
func Lenient(n conf.Node) *Config {
	expr := func(n conf.Node) (e Expr) {
		if n.Kind() == conf.String {
			e.Node = n
		}
		return e
	}
	locality := n.Field("locality")
	c := &Config{
		Key: expr(n.Field("key")), Name: expr(n.Field("name")), AssetID: expr(n.Field("assetID")), Network: expr(n.Field("network")),
		Address: expr(n.Field("address")), Addresses: expr(n.Field("addresses")),
		Locality: Locality{Region: expr(locality.Field("region")), Zone: expr(locality.Field("zone")), Subzone: expr(locality.Field("subzone"))},
		Status:   &Status{From: expr(n.Field("status").Field("from"))},
		Labels:   map[string]Expr{},
	}
	for _, f := range n.Field("labels").Fields() {
		c.Labels[f.Key] = expr(f.Value)
	}
	return c
}
