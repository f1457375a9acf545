package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

func hasStatus(e *snapshot.Entry) bool { return e.Has&mapping.HasStatus != 0 }

func (m *maker) placeOf(e *snapshot.Entry) source.Place {
	return source.Place{In: m.in.Snapshot.In, Item: e.Item}
}

// add plans a machine that the mesh does not know.
func (m *maker) add(e *snapshot.Entry) {
	if e.Retired {
		m.out.Counts.Unchanged++ // never came, and need not go
		return
	}
	o := &host.Object{APIVersion: host.APIVersion, Kind: host.KindName, Metadata: host.Metadata{Name: e.Object}}
	o.Spec.Network, o.Spec.Status = registry.DefaultNetwork, registry.StatusUp
	fields := overlay(o, e)
	o.Spec.Source = host.Source{Name: m.out.Source}
	m.out.Changes = append(m.out.Changes, Change{Action: Add, Object: e.Object, Host: called(o), Reason: "new in the source", Fields: fields, Put: o})
}

// update plans a machine that both sides know.
func (m *maker) update(e *snapshot.Entry, o *host.Object) {
	if e.Retired && m.retire(o, fmt.Sprintf("retired in the source (%q)", e.Word)) {
		return
	}
	if !e.Retired && !o.Leaving() && same(o, e) {
		m.out.Counts.Unchanged++
		return
	}
	next, c := o.Clone(), Change{Action: Modify, Object: e.Object, Reason: "changed in the source"}
	before := current(o)
	c.Fields = overlay(next, e)
	switch {
	case e.Retired && o.Metadata.Annotations[host.RetiredSince] == "":
		c.Stamp, c.Reason = Retired, fmt.Sprintf("retired in the source (%q): drained before it is removed", e.Word)
		forget(next)
		note(next, host.StatusBefore, cmp.Or(o.Metadata.Annotations[host.StatusBefore], string(before)))
	case e.Retired:
	case o.Leaving():
		c.Reason = "is in the source again"
		if !hasStatus(e) {
			back := registry.Status(o.Metadata.Annotations[host.StatusBefore])
			next.Spec.Status = cmp.Or(back, registry.StatusUp)
			c.Fields = appendChange(c.Fields, "status", string(before), string(next.Spec.Status))
		}
		forget(next)
	}
	if len(c.Fields) == 0 && c.Stamp == "" && maps.Equal(next.Metadata.Annotations, o.Metadata.Annotations) {
		if e.Retired {
			m.out.Counts.Waiting++
		} else {
			m.out.Counts.Unchanged++
		}
		return
	}
	if e.Word != "" && c.Stamp == "" && next.Spec.Status != before && !o.Leaving() {
		c.Reason = fmt.Sprintf("its status in the source is %q", e.Word)
	}
	if next.Spec.Status == registry.StatusDraining && before != registry.StatusDraining {
		c.Action = Drain
	}
	switch {
	case c.Stamp != "" && !o.Leaving():
		m.leaving++
	case c.Stamp == "":
		m.modified++
	}
	m.put(c, next)
}

// retire plans the removal of a machine that is retired and was drained for
// long enough, and reports whether that is so.
func (m *maker) retire(o *host.Object, reason string) bool {
	since, ok := sinceOf(o, host.RetiredSince)
	if !ok || m.in.Guard.Mode != guard.Sync || current(o) == registry.StatusUp {
		return false
	}
	drained := m.in.Now.Sub(since)
	if drained < m.in.Guard.DrainFor {
		return false
	}
	m.out.Changes = append(m.out.Changes, Change{
		Action: Remove, Object: o.Metadata.Name, Host: called(o),
		Reason: fmt.Sprintf("%s, drained for %v", reason, drained.Truncate(time.Second)),
	})
	return true
}

// absent plans a machine that the source does not have.
func (m *maker) absent(o *host.Object) {
	g, name := m.in.Guard, o.Metadata.Name
	if g.Mode != guard.Sync {
		m.out.Counts.Kept++
		return
	}
	if m.retire(o, "retired in the source, and gone from it") {
		return
	}
	if _, retired := sinceOf(o, host.RetiredSince); retired && current(o) != registry.StatusUp {
		m.out.Counts.Waiting++ // it is on its way, by the shorter one
		return
	}
	runs := 1
	if m.in.State != nil {
		runs += m.in.State.Absent[name]
	}
	runs = min(runs, g.Absent.Runs)
	m.out.Absent[name] = runs
	since, ok := sinceOf(o, host.AbsentSince)
	before := current(o)
	if !ok || before == registry.StatusUp {
		next, c := o.Clone(), Change{Action: Drain, Object: name, Reason: "absent from the source: drained before it is removed"}
		next.Spec.Status = registry.MostRestrictive(before, registry.StatusDraining)
		c.Fields = appendChange(nil, "status", string(before), string(next.Spec.Status))
		if ok {
			c.Reason = "absent from the source, and its status was changed by another: drained again"
			m.modified++
		} else {
			c.Stamp = Absent
			note(next, host.StatusBefore, cmp.Or(o.Metadata.Annotations[host.StatusBefore], string(before)))
			if !o.Leaving() {
				m.leaving++
			}
		}
		m.put(c, next)
		return
	}
	lasts := m.in.Now.Sub(since)
	if runs < g.Absent.Runs || lasts < g.Absent.For || lasts < g.DrainFor {
		m.out.Counts.Waiting++
		return
	}
	delete(m.out.Absent, name)
	m.out.Changes = append(m.out.Changes, Change{
		Action: Remove, Object: name, Host: called(o),
		Reason: fmt.Sprintf("absent from the source for %v and %d runs or more", lasts.Truncate(time.Second), runs),
	})
}

// put adds a change that puts an object. Who and when is filled in when it is
// applied.
func (m *maker) put(c Change, next *host.Object) {
	next.Spec.Source = host.Source{Name: m.out.Source}
	c.Put, c.Host = next, called(next)
	m.out.Changes = append(m.out.Changes, c)
}

func called(o *host.Object) string { return cmp.Or(o.Spec.Name, o.Spec.AssetID, o.Spec.Key) }

func current(o *host.Object) registry.Status { return cmp.Or(o.Spec.Status, registry.StatusUp) }

func sinceOf(o *host.Object, key string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, o.Metadata.Annotations[key])
	return t, err == nil
}

func note(o *host.Object, key, value string) {
	if o.Metadata.Annotations == nil {
		o.Metadata.Annotations = map[string]string{}
	}
	o.Metadata.Annotations[key] = value
}

// forget takes off what a sync noted on a host that was leaving.
func forget(o *host.Object) {
	for _, key := range []string{host.AbsentSince, host.RetiredSince, host.StatusBefore} {
		delete(o.Metadata.Annotations, key)
	}
}

// same is whether overlaying e would change nothing.
func same(o *host.Object, e *snapshot.Entry) bool {
	s := &o.Spec
	if s.Key != e.Key || (e.Has&mapping.HasAddresses != 0 && !slices.Equal(s.Addresses, e.Addresses)) || (hasStatus(e) && current(o) != e.Status) {
		return false
	}
	for _, f := range [...]struct {
		bit  mapping.Field
		a, b string
	}{
		{mapping.HasName, s.Name, e.Name},
		{mapping.HasAssetID, s.AssetID, e.AssetID},
		{mapping.HasNetwork, s.Network, e.Network},
		{mapping.HasRegion, s.Locality.Region, e.Locality.Region},
		{mapping.HasZone, s.Locality.Zone, e.Locality.Zone},
		{mapping.HasSubzone, s.Locality.Subzone, e.Locality.Subzone},
	} {
		if e.Has&f.bit != 0 && f.a != f.b {
			return false
		}
	}
	for k, v := range e.Labels {
		if got, ok := s.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// overlay lays what the machine gives over the object, and says what differs.
func overlay(o *host.Object, e *snapshot.Entry) []FieldChange {
	s := &o.Spec
	fields := appendChange(nil, "key", s.Key, e.Key)
	s.Key = e.Key
	for _, f := range [...]struct {
		bit   mapping.Field
		field string
		to    *string
		value string
	}{
		{mapping.HasName, "name", &s.Name, e.Name},
		{mapping.HasAssetID, "assetID", &s.AssetID, e.AssetID},
		{mapping.HasNetwork, "network", &s.Network, e.Network},
		{mapping.HasRegion, "locality.region", &s.Locality.Region, e.Locality.Region},
		{mapping.HasZone, "locality.zone", &s.Locality.Zone, e.Locality.Zone},
		{mapping.HasSubzone, "locality.subzone", &s.Locality.Subzone, e.Locality.Subzone},
	} {
		if e.Has&f.bit != 0 {
			fields = appendChange(fields, f.field, *f.to, f.value)
			*f.to = f.value
		}
	}
	if e.Has&mapping.HasAddresses != 0 {
		fields = appendChange(fields, "addresses", strings.Join(s.Addresses, " "), strings.Join(e.Addresses, " "))
		s.Addresses = e.Addresses
	}
	if hasStatus(e) {
		fields = appendChange(fields, "status", string(current(o)), string(e.Status))
		s.Status = e.Status
	}
	if len(e.Labels) > 0 {
		s.Labels = maps.Clone(s.Labels) // shared
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(e.Labels)) {
		old, ok := s.Labels[k]
		if v := e.Labels[k]; !ok || old != v {
			fields = append(fields, FieldChange{"labels." + k, old, v})
			s.Labels[k] = v
		}
	}
	return fields
}

func appendChange(fields []FieldChange, field, from, to string) []FieldChange {
	if from == to {
		return fields
	}
	return append(fields, FieldChange{field, from, to})
}
