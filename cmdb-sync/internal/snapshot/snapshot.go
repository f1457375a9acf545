// Package snapshot is what a source had at one time, as hosts: in memory
// sorted and hashed, on disk as JSON Lines. Beside it stands the little that a
// sync remembers from run to run.
package snapshot

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Snapshot is one full fetch. It is not changed once it is sealed.
type Snapshot struct {
	Source      string
	In          string // what places of records are in: a file, a URL
	Config      string // hash of the configuration whose mapping made it
	Time        time.Time
	Total       int     // records of the source
	Entries     []Entry // sorted by object name
	Quarantined []Quarantine
	Hash        string // of the entries and the quarantine
}

// Entry is one machine and the name of its object.
type Entry struct {
	Object string
	mapping.Machine
}

// Quarantine is a record that makes no host, and why. What the mesh knows of
// that machine stays as it is.
type Quarantine struct {
	Place  source.Place `json:"place"`
	Key    string       `json:"key,omitempty"` // empty where not even that is known
	Reason string       `json:"reason"`
}

// DuplicateError is two records of one key: the source cannot be trusted.
type DuplicateError struct {
	Key   string
	Items [2]int
}

// Error names the key and where both are.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("two records have the key %q: %d and %d", e.Key, e.Items[0], e.Items[1])
}

// Seal sorts the snapshot, refuses keys that are there twice, and hashes it.
func (s *Snapshot) Seal() error {
	for i := range s.Entries {
		s.Entries[i].Object = host.ObjectName(s.Source, s.Entries[i].Key)
	}
	slices.SortFunc(s.Entries, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Item, b.Item)) })
	for i := 1; i < len(s.Entries); i++ {
		if a, b := &s.Entries[i-1], &s.Entries[i]; a.Object == b.Object {
			return &DuplicateError{Key: b.Key, Items: [2]int{a.Item, b.Item}}
		}
	}
	slices.SortStableFunc(s.Quarantined, func(a, b Quarantine) int { return cmp.Compare(a.Place.Item, b.Place.Item) })
	sum := sha256.New()
	if err := s.writeBody(sum, false); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	s.Hash = hex.EncodeToString(sum.Sum(nil))
	return nil
}

const format = "outrigger-cmdb-snapshot/1"

// header is the first line of a file.
type header struct {
	Format      string    `json:"format"`
	Source      string    `json:"source"`
	In          string    `json:"in,omitempty"`
	Config      string    `json:"config"`
	Time        time.Time `json:"time"`
	Total       int       `json:"total"`
	Hosts       int       `json:"hosts"`
	Quarantined int       `json:"quarantined"`
	Hash        string    `json:"hash"`
}

// line is an entry in a file. What is absent is left out, what is empty is "".
type line struct {
	Key       string            `json:"key"`
	Name      *string           `json:"name,omitempty"`
	AssetID   *string           `json:"assetID,omitempty"`
	Network   *string           `json:"network,omitempty"`
	Addresses *[]string         `json:"addresses,omitempty"`
	Region    *string           `json:"region,omitempty"`
	Zone      *string           `json:"zone,omitempty"`
	Subzone   *string           `json:"subzone,omitempty"`
	Status    *string           `json:"status,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Retired   bool              `json:"retired,omitempty"`
	Word      string            `json:"word,omitempty"`
	Item      int               `json:"item,omitempty"` // not hashed
}

// texts pairs the bits of a machine's fields with where they are in both.
func (l *line) texts(m *mapping.Machine) []struct {
	bit  mapping.Field
	line **string
	text *string
} {
	return []struct {
		bit  mapping.Field
		line **string
		text *string
	}{
		{mapping.HasName, &l.Name, &m.Name},
		{mapping.HasAssetID, &l.AssetID, &m.AssetID},
		{mapping.HasNetwork, &l.Network, &m.Network},
		{mapping.HasRegion, &l.Region, &m.Locality.Region},
		{mapping.HasZone, &l.Zone, &m.Locality.Zone},
		{mapping.HasSubzone, &l.Subzone, &m.Locality.Subzone},
		{mapping.HasStatus, &l.Status, (*string)(&m.Status)},
	}
}

var none = []string{}

func (l *line) from(m *mapping.Machine) {
	*l = line{Key: m.Key, Labels: m.Labels, Retired: m.Retired, Word: m.Word}
	for _, f := range l.texts(m) {
		if m.Has&f.bit != 0 {
			*f.line = f.text
		}
	}
	if m.Has&mapping.HasAddresses != 0 {
		l.Addresses = &m.Addresses
		if m.Addresses == nil {
			l.Addresses = &none // null would be read as absent
		}
	}
}

func (l *line) to(m *mapping.Machine, in *host.Interner) {
	*m = mapping.Machine{Key: l.Key, Labels: in.Map(l.Labels), Retired: l.Retired, Word: in.Text(l.Word), Item: l.Item}
	for _, f := range l.texts(m) {
		if *f.line != nil {
			m.Has |= f.bit
			*f.text = **f.line
		}
	}
	m.Network, m.Status = in.Text(m.Network), registry.Status(in.Text(string(m.Status)))
	m.Locality.Region, m.Locality.Zone, m.Locality.Subzone = in.Text(m.Locality.Region), in.Text(m.Locality.Zone), in.Text(m.Locality.Subzone)
	if l.Addresses != nil {
		m.Has |= mapping.HasAddresses
		m.Addresses = *l.Addresses
	}
}

// Write writes a sealed snapshot: a line about it, a line each host, a line
// each quarantined record.
func (s *Snapshot) Write(w io.Writer) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	head := header{
		Format: format, Source: s.Source, In: s.In, Config: s.Config, Time: s.Time.UTC(), Total: s.Total,
		Hosts: len(s.Entries), Quarantined: len(s.Quarantined), Hash: s.Hash,
	}
	if err := json.NewEncoder(buf).Encode(head); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := s.writeBody(buf, true); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

// writeBody writes hosts and the quarantine. The hash is of it without the
// hosts' places: that a line was inserted above them changes nothing.
func (s *Snapshot) writeBody(w io.Writer, places bool) error {
	enc := json.NewEncoder(w)
	var l line
	for i := range s.Entries {
		l.from(&s.Entries[i].Machine)
		if places {
			l.Item = s.Entries[i].Item
		}
		if err := enc.Encode(&l); err != nil {
			return err
		}
	}
	for i := range s.Quarantined {
		if err := enc.Encode(&s.Quarantined[i]); err != nil {
			return err
		}
	}
	return nil
}

// Read reads what Write wrote, and refuses a file that is not whole.
func Read(r io.Reader) (*Snapshot, error) {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 256<<10))
	var head header
	if err := dec.Decode(&head); err != nil {
		return nil, fmt.Errorf("snapshot: its first line: %w", err)
	}
	if head.Format != format {
		return nil, fmt.Errorf("snapshot: its format is %q, expected %q", head.Format, format)
	}
	s := &Snapshot{Source: head.Source, In: head.In, Config: head.Config, Time: head.Time, Total: head.Total}
	in := host.NewInterner()
	for i := range head.Hosts {
		var l line
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("snapshot: host %d of %d: %w", i+1, head.Hosts, err)
		}
		var e Entry
		l.to(&e.Machine, in)
		s.Entries = append(s.Entries, e)
	}
	for i := range head.Quarantined {
		var q Quarantine
		if err := dec.Decode(&q); err != nil {
			return nil, fmt.Errorf("snapshot: quarantined record %d of %d: %w", i+1, head.Quarantined, err)
		}
		s.Quarantined = append(s.Quarantined, q)
	}
	if err := s.Seal(); err != nil {
		return nil, err
	}
	if s.Hash != head.Hash {
		return nil, fmt.Errorf("snapshot: its content has the hash %.12s, its first line says %.12s: it was changed or is damaged", s.Hash, head.Hash)
	}
	return s, nil
}
