package mesh

import (
	"cmp"
	"maps"
	"net/netip"
	"strings"
	"sync"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Hosts is the machines that are known, by everything that they are called.
// The mesh's goroutine changes it; anybody may look something up.
type Hosts struct {
	mu     sync.RWMutex
	claims multi[string, hostClaim] // by object name
	// Of each name the host that holds, by what instances and clients say.
	names, assets, keys multi[string, *object.Host]
	addresses           multi[hostAddress, *object.Host]
	count               int
}

// hostClaim is one source's word on one host.
type hostClaim struct {
	rank   int
	source string
	host   *object.Host
}

type hostAddress struct {
	network string
	ip      netip.Addr
}

// The ways to join a host, best first.
const (
	JoinedByName    = "name"
	JoinedByAssetID = "assetID"
	JoinedByKey     = "key"
	JoinedByAddress = "address"
)

func newHosts() *Hosts {
	return &Hosts{
		claims: newMulti[string, hostClaim](),
		names:  newMulti[string, *object.Host](), assets: newMulti[string, *object.Host](),
		keys: newMulti[string, *object.Host](), addresses: newMulti[hostAddress, *object.Host](),
	}
}

// Count is how many hosts are known.
func (h *Hosts) Count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.count
}

// Find returns the host that somebody in a network says to be on: by the name
// he gives it (its name, its asset id, or the CMDB's key, in any case of
// letters), or else by his address there. Of several hosts with one name that
// in the same network is taken, and of those the first by object name. nil if
// there is none.
func (h *Hosts) Find(network, name, address string) (host *object.Host, by string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if name = strings.ToLower(name); name != "" {
		for _, index := range []struct {
			of *multi[string, *object.Host]
			by string
		}{{&h.names, JoinedByName}, {&h.assets, JoinedByAssetID}, {&h.keys, JoinedByKey}} {
			index.of.each(name, func(o *object.Host) { host = better(network, host, o) })
			if host != nil {
				return host, index.by
			}
		}
	}
	if ip, ok := ipOf(address); ok {
		h.addresses.each(hostAddress{network, ip}, func(o *object.Host) { host = better(network, host, o) })
	}
	if host == nil {
		return nil, ""
	}
	return host, JoinedByAddress
}

// better is the one of two hosts of the same name to take; a may be nil.
func better(network string, a, b *object.Host) *object.Host {
	if a == nil {
		return b
	}
	order := cmp.Or(
		-cmp.Compare(asInt(a.Spec.Network == network), asInt(b.Spec.Network == network)),
		strings.Compare(a.Name, b.Name),
	)
	if order <= 0 {
		return a
	}
	return b
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ipOf is the IP of an address, host:port or a host alone.
func ipOf(address string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(address)
	return ip.Unmap().WithZone(""), err == nil
}

// claim has a source say what it knows of a host; next is nil where it takes
// back what it said. It returns what held before and what holds now.
func (h *Hosts) claim(name string, rank int, source string, next *object.Host) (was, now *object.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was = h.winner(name)
	var mine []hostClaim
	h.claims.each(name, func(c hostClaim) {
		if c.rank == rank {
			mine = append(mine, c)
		}
	})
	for _, c := range mine {
		h.claims.remove(name, c)
	}
	if next != nil {
		h.claims.add(name, hostClaim{rank: rank, source: source, host: next})
	}
	if now = h.winner(name); now == was {
		return was, now
	}
	if was != nil {
		h.count--
		h.index(was, (*multi[string, *object.Host]).remove, (*multi[hostAddress, *object.Host]).remove)
	}
	if now != nil {
		h.count++
		h.index(now, (*multi[string, *object.Host]).add, (*multi[hostAddress, *object.Host]).add)
	}
	return was, now
}

// winner is the word of the source that comes first; nil if there is none.
func (h *Hosts) winner(name string) *object.Host {
	var first hostClaim
	h.claims.each(name, func(c hostClaim) {
		if first.host == nil || c.rank < first.rank {
			first = c
		}
	})
	return first.host
}

// Holder is whose word on the host of that object name holds.
func (h *Hosts) Holder(name string) (Holder, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var first hostClaim
	h.claims.each(name, func(c hostClaim) {
		if first.host == nil || c.rank < first.rank {
			first = c
		}
	})
	if first.host == nil {
		return Holder{}, false
	}
	return Holder{Source: first.source, Pos: first.host.Pos}, true
}

func (h *Hosts) index(
	o *object.Host,
	text func(*multi[string, *object.Host], string, *object.Host),
	address func(*multi[hostAddress, *object.Host], hostAddress, *object.Host),
) {
	for _, name := range hostNames(o) {
		switch name.by {
		case JoinedByName:
			text(&h.names, name.text, o)
		case JoinedByAssetID:
			text(&h.assets, name.text, o)
		case JoinedByKey:
			text(&h.keys, name.text, o)
		}
	}
	for _, a := range o.Spec.Addresses {
		if ip, ok := ipOf(a); ok {
			address(&h.addresses, hostAddress{o.Spec.Network, ip}, o)
		}
	}
}

type hostName struct{ by, text string }

// hostNames are the names of a host, in lower case.
func hostNames(o *object.Host) []hostName {
	names := make([]hostName, 0, 3)
	for _, n := range []hostName{{JoinedByName, o.Spec.Name}, {JoinedByAssetID, o.AssetID}, {JoinedByKey, o.Spec.Key}} {
		if n.text != "" {
			names = append(names, hostName{n.by, strings.ToLower(n.text)})
		}
	}
	return names
}

// CMDBPrefix is what the labels of an instance's host have before their names
// in its metadata. What an instance registers under it is dropped.
const CMDBPrefix = "cmdb/"

// Machine is the host that an instance runs on.
type Machine struct {
	Object string `json:"object"` // the Host's metadata.name
	Name   string `json:"name,omitempty"`
	// JoinedBy is what of the instance named the host: name, assetID, key or
	// address.
	JoinedBy string `json:"joinedBy"`
}

// FromHost is the source of what an instance has from its machine.
const FromHost = "host"

// join gives an instance what is known of its machine: the host's locality
// beats the registered one, of the statuses the most restrictive holds, and
// its labels are added to the metadata.
func (h *Hosts) join(i *Instance) {
	for key := range i.Metadata {
		if strings.HasPrefix(key, CMDBPrefix) {
			i.Metadata = withoutCMDB(i.Metadata)
			break
		}
	}
	host, by := h.Find(i.Network, i.Host, i.Address)
	if host == nil {
		return
	}
	i.Machine = Machine{Object: host.Name, Name: host.Spec.Name, JoinedBy: by}
	if host.Spec.Locality != (registry.Locality{}) {
		i.Locality, i.LocalitySource = host.Spec.Locality, FromHost
	}
	if s := registry.MostRestrictive(i.Status, host.Spec.Status); s != i.Status && host.Spec.Status != registry.StatusUp {
		i.Status, i.StatusSource = s, FromHost
	}
	if len(host.Spec.Labels) > 0 {
		merged := make(map[string]string, len(i.Metadata)+len(host.Spec.Labels))
		maps.Copy(merged, i.Metadata)
		for key, value := range host.Spec.Labels {
			merged[CMDBPrefix+key] = value
		}
		i.Metadata = merged
	}
}

// withoutCMDB is a copy of the metadata: who registered it keeps his own.
func withoutCMDB(metadata map[string]string) map[string]string {
	kept := make(map[string]string, len(metadata))
	for key, value := range metadata {
		if !strings.HasPrefix(key, CMDBPrefix) {
			kept[key] = value
		}
	}
	return kept
}
