package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/registry"
)

// claim is an address that a machine says it has.
type claim struct {
	network string
	address netip.Addr
}

// bid is one entry's claim to an address that it does not hold yet.
type bid struct {
	entry int
	claim claim
}

// claims refuses entries that claim an address which is another's: of two
// records with one address, neither is believed, but for the one whose host
// has it already. An address goes from one host to another where the other
// gives it up in the same plan, and not before.
func (m *maker) claims() {
	entries := m.in.Snapshot.Entries
	holders := m.holders()
	first := make(map[claim]int, len(entries))
	var bids []bid
	contested := map[claim]int{} // the second of those who claim it
	for i := range entries {
		if m.refused[i] != "" {
			continue
		}
		for _, c := range m.wants(i) {
			switch other, taken := first[c]; {
			case !taken:
				first[c] = i
			case other != i && contested[c] == 0:
				contested[c] = i // never 0, which came first
			}
			if o := m.present[i]; o == nil || !has(o, c) {
				bids = append(bids, bid{i, c})
			}
		}
	}
	// What a refused entry holds stays with it, which may refuse another: on
	// until nothing changes. Each round refuses one at least.
	for again := true; again; {
		again = false
		for _, b := range bids {
			if m.refused[b.entry] != "" {
				continue
			}
			if reason := m.refuses(b, contested, first, holders); reason != "" {
				m.refused[b.entry] = reason
				again = true
			}
		}
	}
}

// refuses is why the bid is not believed; empty where it is.
func (m *maker) refuses(b bid, contested, first map[claim]int, holders map[claim]*host.Object) string {
	entries := m.in.Snapshot.Entries
	if second, ok := contested[b.claim]; ok {
		other := first[b.claim]
		if other == b.entry {
			other = second
		}
		return fmt.Sprintf("claims %s, and so does the record %s", b.claim.address, entries[other].Key)
	}
	holder := holders[b.claim]
	if holder == nil || holder == m.present[b.entry] {
		return ""
	}
	name := holder.Metadata.Name
	at, known := slices.BinarySearchFunc(entries, name, compareObject)
	switch {
	case !m.ours(holder):
		return fmt.Sprintf("claims %s, which the host %s of %s has", b.claim.address, name, owner(holder))
	case !known:
		return fmt.Sprintf("claims %s, which the host %s still has, though it is absent from the source: until it is removed", b.claim.address, name)
	case m.refused[at] != "" || entries[at].Has&mapping.HasAddresses == 0:
		return fmt.Sprintf("claims %s, which the host %s has and keeps", b.claim.address, name)
	}
	return "" // the holder's own record gives it up
}

// holders is who has each address now.
func (m *maker) holders() map[claim]*host.Object {
	holders := make(map[claim]*host.Object, len(m.in.Present))
	for _, o := range m.in.Present {
		for _, a := range o.Spec.Addresses {
			if ip, err := netip.ParseAddr(a); err == nil {
				c := claim{networkOf(o.Spec.Network), ip.Unmap()}
				if _, taken := holders[c]; !taken {
					holders[c] = o
				}
			}
		}
	}
	return holders
}

// wants is what an entry claims.
func (m *maker) wants(i int) []claim {
	e := &m.in.Snapshot.Entries[i]
	if len(e.Addresses) == 0 || (e.Retired && m.present[i] == nil) {
		return nil
	}
	network := e.Network
	if e.Has&mapping.HasNetwork == 0 && m.present[i] != nil {
		network = m.present[i].Spec.Network
	}
	claims := make([]claim, 0, 1)
	for _, a := range e.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			claims = append(claims, claim{networkOf(network), ip})
		}
	}
	return claims
}

func has(o *host.Object, c claim) bool {
	if networkOf(o.Spec.Network) != c.network {
		return false
	}
	return slices.ContainsFunc(o.Spec.Addresses, func(a string) bool {
		ip, err := netip.ParseAddr(a)
		return err == nil && ip.Unmap() == c.address
	})
}

func networkOf(name string) string {
	if name == "" {
		return registry.DefaultNetwork
	}
	return name
}

func compareObject(e snapshot.Entry, name string) int { return strings.Compare(e.Object, name) }
