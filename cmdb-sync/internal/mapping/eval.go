package mapping

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

type interner = host.Interner

func newInterner() *interner { return host.NewInterner() }

// Unmappable says why a record cannot be a host. Key is empty where that is
// not even known.
type Unmappable struct {
	Key    string
	Reason string
}

// Error is the reason.
func (e *Unmappable) Error() string { return e.Reason }

// Map maps a record. The error is an *Unmappable.
func (m *Mapper) Map(r source.Record) (Machine, error) {
	m.record.value = r.Value
	h := Machine{Item: r.Place.Item}
	refuse := func(err error) (Machine, error) { return Machine{}, &Unmappable{Key: h.Key, Reason: err.Error()} }

	key, ok, err := m.text(m.key)
	switch {
	case err != nil:
		return refuse(err)
	case !ok || key == "":
		return refuse(fmt.Errorf("%s: the record has no key", m.key.path))
	}
	h.Key = strings.Clone(key)
	if err := m.fillAddresses(&h); err != nil {
		return refuse(err)
	}
	for _, f := range m.texts {
		s, ok, err := m.text(f.expr)
		if err != nil {
			return refuse(err)
		}
		if ok {
			h.set(f.field, m.own(s, f.pooled))
		}
	}
	if h.Has&HasNetwork != 0 && h.Network == "" {
		h.Network = registry.DefaultNetwork
	}
	if err := m.fillStatus(&h); err != nil {
		return refuse(err)
	}
	if err := m.fillLabels(&h); err != nil {
		return refuse(err)
	}
	return h, nil
}

// own is s without the record around it.
func (m *Mapper) own(s string, pooled bool) string {
	if pooled {
		return m.interner.Text(s)
	}
	return strings.Clone(s)
}

func (h *Machine) set(f Field, s string) {
	h.Has |= f
	switch f {
	case HasName:
		h.Name = s
	case HasAssetID:
		h.AssetID = s
	case HasNetwork:
		h.Network = s
	case HasRegion:
		h.Locality.Region = s
	case HasZone:
		h.Locality.Zone = s
	case HasSubzone:
		h.Locality.Subzone = s
	case HasAddresses, HasStatus: // have types of their own
	}
}

func (m *Mapper) fillAddresses(h *Machine) error {
	if m.addresses == nil {
		return nil
	}
	v, err := m.eval(m.addresses)
	if err != nil || v == nil {
		return err
	}
	h.Has |= HasAddresses
	texts := []ref.Val{v}
	if list, ok := v.(traits.Lister); ok {
		texts = texts[:0]
		for it := list.Iterator(); it.HasNext() == types.True; {
			texts = append(texts, it.Next())
		}
	}
	if len(texts) > MaxAddresses {
		return fmt.Errorf("%s: %d addresses, %d are the most", m.addresses.path, len(texts), MaxAddresses)
	}
	for _, t := range texts {
		s, ok := t.Value().(string)
		if !ok {
			return fmt.Errorf("%s: expected text, found %s", m.addresses.path, t.Type().TypeName())
		}
		if s == "" {
			continue // a machine may be without one
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s: %q is not the IP address of a machine", m.addresses.path, shorten(s))
		}
		h.Addresses = append(h.Addresses, a.Unmap().String())
	}
	slices.Sort(h.Addresses)
	h.Addresses = slices.Compact(h.Addresses)
	return nil
}

func (m *Mapper) fillStatus(h *Machine) error {
	if m.from == nil {
		return nil
	}
	word, ok, err := m.text(m.from)
	if err != nil || !ok {
		return err
	}
	h.Word = m.interner.Text(word)
	action, known := m.status.Table[word]
	if !known {
		switch m.status.Unknown {
		case Keep:
			return nil
		case Refuse:
			return fmt.Errorf("%s: %q is not in the table", m.from.path, shorten(word))
		case TakeAsUp:
			action = Up
		}
	}
	h.Has |= HasStatus
	switch action {
	case Up:
		h.Status = registry.StatusUp
	case Drain:
		h.Status = registry.StatusDraining
	case Down:
		h.Status = registry.StatusDown
	case Remove:
		h.Status, h.Retired = registry.StatusDraining, true
	}
	return nil
}

func (m *Mapper) fillLabels(h *Machine) error {
	if len(m.labels) == 0 {
		return nil
	}
	labels := make(map[string]string, len(m.labels))
	for _, l := range m.labels {
		s, ok, err := m.text(l.expr)
		if err != nil {
			return err
		}
		if ok {
			labels[l.key] = s
		}
	}
	h.Labels = m.interner.Map(labels)
	return nil
}

// text evaluates an expression of text. It is not ok where the value is absent.
func (m *Mapper) text(e *expression) (s string, ok bool, err error) {
	if e.field != "" {
		flat, _ := m.record.value.(map[string]string)
		if s, ok = flat[e.field]; !ok {
			return "", false, fmt.Errorf("%s: no such key: %s", e.path, e.field)
		}
		return s, true, checked(e, s)
	}
	v, err := m.eval(e)
	if err != nil || v == nil {
		return "", false, err
	}
	s, ok = v.Value().(string)
	if !ok {
		if v.Type() == types.NullType {
			return "", true, nil // the source has the field, and nothing in it
		}
		return "", false, fmt.Errorf("%s: expected text, found %s", e.path, v.Type().TypeName())
	}
	return s, true, checked(e, s)
}

func checked(e *expression, s string) error {
	if err := checkText(s); err != nil {
		return fmt.Errorf("%s: %w", e.path, err)
	}
	return nil
}

// eval is nil where the value is an optional without one.
func (m *Mapper) eval(e *expression) (ref.Val, error) {
	v, _, err := e.program.Eval(&m.record)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", e.path, oneLine(err.Error()))
	}
	if o, ok := v.(*types.Optional); ok {
		if !o.HasValue() {
			return nil, nil //nolint:nilnil // absent is neither a value nor a mistake
		}
		v = o.GetValue()
	}
	return v, nil
}

func shorten(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// binding binds r.
type binding struct{ value any }

var _ cel.Activation = (*binding)(nil)

// ResolveName knows r alone.
func (b *binding) ResolveName(name string) (any, bool) { return b.value, name == "r" }

// Parent is none.
func (b *binding) Parent() cel.Activation { return nil }
