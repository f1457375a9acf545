package mesh

import (
	"slices"
	"time"
)

// SourceStatus is how a source stands, for people.
type SourceStatus struct {
	Name   string `json:"name"`
	Synced bool   `json:"synced"` // everything that was there at the start is known
	// Keys is how many keys it has something to say of: files as one, nodes,
	// objects.
	Keys int `json:"keys"`
	// Updated is when it last sent anything; zero if it never did.
	Updated time.Time `json:"updated,omitzero"`
}

// Sources is how the sources stand, in the order of their precedence.
func (m *Mesh) Sources() []SourceStatus {
	m.sourcesMu.Lock()
	defer m.sourcesMu.Unlock()
	return slices.Clone(m.sources)
}

// noteSource notes that a source has sent something.
func (m *Mesh) noteSource(rank, keys int, synced bool) {
	m.sourcesMu.Lock()
	defer m.sourcesMu.Unlock()
	s := &m.sources[rank]
	s.Updated = time.Now()
	s.Keys += keys
	s.Synced = s.Synced || synced
}
