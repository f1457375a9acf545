package serve

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/outrigger-mesh/outrigger/registry"
)

// Client is what a client says of where it is, in the node of its first
// request: its locality, and network and host of its metadata.
type Client struct {
	Network  string
	Host     string
	Locality registry.Locality
}

// Place is where a client is.
type Place struct {
	Locality registry.Locality
	Source   string // FromNode or FromHost
	Host     string // the Host object that says so
}

// The sources of a client's locality.
const (
	FromNode = "node" // the client says it
	FromHost = "host" // the Host says it that the client runs on
)

func clientOf(n *corev3.Node) Client {
	fields := n.GetMetadata().GetFields()
	c := Client{
		Network: fields["network"].GetStringValue(),
		Host:    fields["host"].GetStringValue(),
		Locality: registry.Locality{
			Region: n.GetLocality().GetRegion(), Zone: n.GetLocality().GetZone(), Subzone: n.GetLocality().GetSubZone(),
		},
	}
	if c.Network == "" {
		c.Network = registry.DefaultNetwork
	}
	return c
}

// Relocate asks anew where every client is, and sends those that are elsewhere
// now what is different from there.
func (c *Cache) Relocate() {
	c.mu.RLock()
	sessions := make([]*session, 0, len(c.sessions))
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.RUnlock()
	for _, s := range sessions {
		s.relocate()
	}
}

func (s *session) relocate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.node == nil {
		return
	}
	was := s.place
	s.place = s.cache.locate(clientOf(s.node))
	if s.place.Locality == was.Locality {
		return
	}
	s.cache.log.Info("a client is elsewhere now",
		"node", s.node.GetId(), "locality", s.place.Locality.String(), "was", was.Locality.String())
	t := s.types[resourcev3.EndpointType]
	if t == nil {
		return
	}
	for name := range t.sent {
		t.look(name, false)
	}
	s.dispatch()
}

// lookup is the resource in the form for this client, or nil.
func (s *session) lookup(typeURL, name string) *resource {
	r, err := s.cache.lookup(typeURL, name).from(s.place.Locality)
	if err != nil {
		s.cache.log.Error("a resource could not be made for a place, its form without priorities is sent",
			"node", s.node.GetId(), "locality", s.place.Locality.String(), "error", err)
	}
	return r
}
