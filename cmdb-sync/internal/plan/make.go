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
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
)

// Input is everything that a plan depends on.
type Input struct {
	Run      string
	Now      time.Time
	Server   string
	Base     string         // the revision of Present
	Present  []*host.Object // of every source, sorted by name; not changed
	Snapshot *snapshot.Snapshot
	Config   string // hash of the configuration
	Canaries []string
	Guard    guard.Config
	State    *snapshot.State // nil on a first run
}

// Make makes the plan.
func Make(in Input) (*Plan, error) {
	m := &maker{in: in, out: &Plan{
		Format: format, Source: in.Snapshot.Source, Run: in.Run, Created: in.Now.UTC().Truncate(time.Second),
		Server: in.Server, Base: in.Base, Snapshot: in.Snapshot.Hash, Config: in.Config,
		Quarantined: slices.Clone(in.Snapshot.Quarantined), Changes: []Change{},
	}}
	m.join()
	m.claims()
	m.decide()
	m.check()
	var err error
	m.out.Hash, err = m.out.hash()
	return m.out, err
}

// maker is a plan in the making.
type maker struct {
	in  Input
	out *Plan

	// present is for each entry of the snapshot its object, nil where there
	// is none, and refused why the entry is not used, empty where it is.
	present []*host.Object
	refused map[int]string

	leaving, modified int
	unknown           map[string]int // words that the table of status does not have
}

// ours is whether an object belongs to the source.
func (m *maker) ours(o *host.Object) bool { return o.Spec.Source.Name == m.out.Source }

// join finds the object of each entry; both are sorted by name.
func (m *maker) join() {
	entries := m.in.Snapshot.Entries
	m.present, m.refused = make([]*host.Object, len(entries)), map[int]string{}
	at := 0
	for i := range entries {
		for at < len(m.in.Present) && m.in.Present[at].Metadata.Name < entries[i].Object {
			at++
		}
		if at == len(m.in.Present) || m.in.Present[at].Metadata.Name != entries[i].Object {
			continue
		}
		o := m.in.Present[at]
		m.present[i] = o
		if !m.ours(o) {
			m.refused[i] = fmt.Sprintf("the host %s belongs to %s", o.Metadata.Name, owner(o))
		}
	}
}

func owner(o *host.Object) string {
	if o.Spec.Source.Name == "" {
		return "nobody that is named: it was made by hand"
	}
	return "the source " + o.Spec.Source.Name
}

// decide walks both sides at once.
func (m *maker) decide() {
	s := m.in.Snapshot
	held := m.heldByQuarantine()
	entries, at := s.Entries, 0
	m.unknown = map[string]int{}
	m.out.Absent = map[string]int{}
	for _, o := range m.in.Present {
		for at < len(entries) && entries[at].Object < o.Metadata.Name {
			m.entry(at)
			at++
		}
		here := at < len(entries) && entries[at].Object == o.Metadata.Name
		if m.ours(o) {
			m.out.Counts.Present++
			switch {
			case here:
			case held.all:
				m.out.Counts.Kept++
			case held.names[o.Metadata.Name]:
				m.out.Counts.Kept++
			default:
				m.absent(o)
			}
		}
		if here {
			m.entry(at)
			at++
		}
	}
	for ; at < len(entries); at++ {
		m.entry(at)
	}
	m.finish(held.all)
}

// entry decides on a machine that the source has.
func (m *maker) entry(i int) {
	e, o := &m.in.Snapshot.Entries[i], m.present[i]
	if reason, ok := m.refused[i]; ok {
		m.out.Quarantined = append(m.out.Quarantined, snapshot.Quarantine{
			Place: m.placeOf(e), Key: e.Key, Reason: reason,
		})
		return
	}
	if e.Word != "" && !hasStatus(e) {
		m.unknown[e.Word]++
	}
	if o == nil {
		m.add(e)
		return
	}
	m.update(e, o)
}

// held is what the quarantine forbids to call absent.
type held struct {
	names map[string]bool
	all   bool // a record whose key is unknown may be any machine
}

func (m *maker) heldByQuarantine() held {
	h := held{names: map[string]bool{}}
	for _, q := range m.in.Snapshot.Quarantined {
		if q.Key == "" {
			h.all = true
			continue
		}
		h.names[host.ObjectName(m.out.Source, q.Key)] = true
	}
	return h
}

// finish counts and notes.
func (m *maker) finish(absenceUnknown bool) {
	p, c := m.out, &m.out.Counts
	c.Records, c.Machines, c.Quarantined = m.in.Snapshot.Total, len(m.in.Snapshot.Entries), len(p.Quarantined)
	for i := range p.Changes {
		switch p.Changes[i].Action {
		case Add:
			c.Add++
		case Modify:
			c.Modify++
		case Drain:
			c.Drain++
		case Remove:
			c.Remove++
		}
	}
	if len(m.unknown) > 0 {
		words := make([]string, 0, len(m.unknown))
		for _, w := range slices.Sorted(maps.Keys(m.unknown)) {
			words = append(words, fmt.Sprintf("%q (%d)", w, m.unknown[w]))
		}
		p.Notes = append(p.Notes, "status words that map.status.table does not have, taken as \"keep\": "+strings.Join(words, ", "))
	}
	if absenceUnknown && c.Kept > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("hosts that the source does not have are kept (%d): a quarantined record without a key may be any of them", c.Kept))
	} else if m.in.Guard.Mode == guard.UpsertOnly && c.Kept > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("hosts that the source does not have are kept (%d): guard.mode is upsert-only", c.Kept))
	}
	if len(p.Absent) == 0 {
		p.Absent = nil
	}
}

// check asks the guards.
func (m *maker) check() {
	f := guard.Facts{
		Records: m.in.Snapshot.Total, Owned: m.out.Counts.Present, Leaving: m.leaving, Modified: m.modified,
		Quarantined: len(m.out.Quarantined), Expected: m.out.Counts.Present - m.leavingAlready(), ExpectedBy: "hosts in the control plane",
		Missing: m.missingCanaries(),
	}
	if m.in.State != nil && m.in.State.Total > 0 {
		f.Expected, f.ExpectedBy = m.in.State.Total, "records at the last good run"
	}
	reasons := map[string]int{}
	for _, q := range m.out.Quarantined {
		reasons[q.Reason]++
	}
	if len(reasons) > 0 {
		f.Reason = slices.MaxFunc(slices.Sorted(maps.Keys(reasons)), func(a, b string) int { return cmp.Compare(reasons[a], reasons[b]) })
	}
	m.out.Guards = guard.Check(m.in.Guard, f)
}

func (m *maker) leavingAlready() int {
	n := 0
	for _, o := range m.in.Present {
		if m.ours(o) && o.Leaving() {
			n++
		}
	}
	return n
}

func (m *maker) missingCanaries() []string {
	if len(m.in.Canaries) == 0 {
		return nil
	}
	missing := map[string]bool{}
	for _, c := range m.in.Canaries {
		missing[c] = true
	}
	for i := range m.in.Snapshot.Entries {
		e := &m.in.Snapshot.Entries[i]
		for _, id := range [3]string{e.Key, e.Name, e.AssetID} {
			delete(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(missing))
}
