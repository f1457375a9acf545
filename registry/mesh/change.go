package mesh

import (
	"maps"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
)

// key is what an instance is known by on one node.
type key struct {
	service registry.ServiceName
	port    string
}

func keyOf(i registry.Instance) key { return key{i.Service, i.PortName} }

// entry is an instance and the lease asked for with it; zero asks for none.
type entry struct {
	instance registry.Instance
	ttl      time.Duration
}

// set is what a node has registered, or is to.
type set map[key]entry

// change is one Register or Deregister on its way. It is one or the other.
type change struct {
	put  set
	drop map[key]struct{}
	done chan struct{} // closed once err is set
	err  error
	sent bool // it is part of the message that the control plane has now
}

func (c *change) finish(err error) {
	c.err = err
	close(c.done)
}

// keys are those that it changes.
func (c *change) keys() map[key]struct{} {
	if c.drop != nil {
		return c.drop
	}
	return keysOf(c.put)
}

// apply returns what base is after the change; base stays as it is.
func (c *change) apply(base set) set {
	out := maps.Clone(base)
	maps.Copy(out, c.put)
	for k := range c.drop {
		delete(out, k)
	}
	return out
}

func keysOf(s set) map[key]struct{} {
	out := make(map[key]struct{}, len(s))
	for k := range s {
		out[k] = struct{}{}
	}
	return out
}

func equal(a, b set) bool {
	return maps.EqualFunc(a, b, func(x, y entry) bool {
		m, n := x.instance, y.instance
		return x.ttl == y.ttl && maps.Equal(m.Metadata, n.Metadata) && plain(m) == plain(n)
	})
}

// comparableInstance is an instance without what cannot be compared.
type comparableInstance struct {
	key                    registry.InstanceKey
	address, version, host string
	number                 uint16
	protocol               registry.Protocol
	weight                 uint32
	locality               registry.Locality
	status                 registry.Status
}

func plain(i registry.Instance) comparableInstance {
	return comparableInstance{
		key: i.InstanceKey, address: i.Address, version: i.Version, host: i.Host, number: i.PortNumber,
		protocol: i.Protocol, weight: i.Weight, locality: i.Locality, status: i.Status,
	}
}

// ttl is the lease of a whole node: the longest that any of its instances
// asked for, or zero for an empty set.
func (s set) ttl(fallback time.Duration) time.Duration {
	var longest time.Duration
	for _, e := range s {
		if e.ttl == 0 {
			e.ttl = fallback
		}
		longest = max(longest, e.ttl)
	}
	return longest
}

// instances are in a fixed order.
func (s set) instances() []registry.Instance {
	out := make([]registry.Instance, 0, len(s))
	for _, e := range s {
		out = append(out, e.instance)
	}
	slices.SortFunc(out, func(a, b registry.Instance) int { return a.Compare(b.InstanceKey) })
	return out
}
