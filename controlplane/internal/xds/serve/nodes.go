package serve

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/registry"
)

// OnDeltaStreamOpen implements delta.Callbacks.
func (s *session) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }

// OnDeltaStreamClosed implements delta.Callbacks.
func (s *session) OnDeltaStreamClosed(int64, *corev3.Node) {}

// OnStreamDeltaRequest implements delta.Callbacks: it learns who asks, and
// what was rejected.
func (s *session) OnStreamDeltaRequest(_ int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	if !slices.Contains(served, req.GetTypeUrl()) {
		return status.Errorf(codes.InvalidArgument, "resources of type %q are not served", req.GetTypeUrl())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		if req.GetNode().GetId() == "" {
			return status.Error(codes.InvalidArgument, "the first request of a stream must name the node, with an id")
		}
		s.node = req.GetNode()
		s.place = s.cache.locate(clientOf(s.node))
		s.cache.log.Info("xDS stream opened", "node", s.node.GetId(), "peer", s.peer, "locality", s.place.Locality.String())
	}
	t := s.state(req.GetTypeUrl())
	if req.GetResponseNonce() == "" || req.GetResponseNonce() != t.nonce {
		return nil // no answer, or to a response that is not the last
	}
	reason := req.GetErrorDetail()
	if reason == nil {
		t.nack = ""
		return nil
	}
	t.nonce = "" // answered: the same rejection is not counted twice
	t.nacks++
	t.nack = reason.GetMessage()
	s.cache.metrics.nacks.WithLabelValues(short(req.GetTypeUrl())).Inc()
	s.cache.log.Error("a client rejected resources, it keeps what it had of them",
		"node", s.node.GetId(), "peer", s.peer, "type", short(req.GetTypeUrl()),
		"resources", strings.Join(t.last, ", "), "reason", reason.GetMessage())
	return nil
}

// maxNamed bounds how many resources of a response are remembered by name.
const maxNamed = 20

// OnStreamDeltaResponse implements delta.Callbacks: it remembers what the
// answer will be about.
func (s *session) OnStreamDeltaResponse(
	_ int64, _ *discoveryv3.DeltaDiscoveryRequest, response *discoveryv3.DeltaDiscoveryResponse,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.state(response.GetTypeUrl())
	t.nonce = response.GetNonce()
	t.last = t.last[:0]
	for _, r := range response.GetResources()[:min(len(response.GetResources()), maxNamed)] {
		t.last = append(t.last, r.GetName())
	}
	label := short(response.GetTypeUrl())
	s.cache.metrics.responses.WithLabelValues(label).Inc()
	s.cache.metrics.resources.WithLabelValues(label).Add(float64(len(response.GetResources())))
}

// Proxy is a connected client, for people.
type Proxy struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster,omitempty"`
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	// LocalitySource is who knows its region and zone: FromNode, or FromHost;
	// Host is then the object.
	LocalitySource string                 `json:"localitySource,omitempty"`
	Host           string                 `json:"host,omitempty"`
	Peer           string                 `json:"peer"`
	Connected      time.Time              `json:"connected"`
	Types          map[string]ProxyStatus `json:"types"`
}

// ProxyStatus is how a client stands with one type.
type ProxyStatus struct {
	Subscribed int  `json:"subscribed"` // names
	Wildcard   bool `json:"wildcard,omitempty"`
	Held       int  `json:"held"` // resources that it was sent
	// Waiting says that a response of this type has not been answered yet.
	Waiting bool   `json:"waiting,omitempty"`
	NACKs   int    `json:"nacks,omitempty"`
	NACK    string `json:"nack,omitempty"` // the last one, until the next ACK
}

// Proxies are the connected clients, by node and peer. One that has not said
// yet who it is has no node.
func (c *Cache) Proxies() []Proxy {
	c.mu.RLock()
	sessions := make([]*session, 0, len(c.sessions))
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.RUnlock()
	proxies := make([]Proxy, 0, len(sessions))
	for _, s := range sessions {
		proxies = append(proxies, s.status())
	}
	slices.SortFunc(proxies, func(a, b Proxy) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Peer, b.Peer))
	})
	return proxies
}

func (s *session) status() Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Proxy{
		Node: s.node.GetId(), Cluster: s.node.GetCluster(),
		Region: s.place.Locality.Region, Zone: s.place.Locality.Zone, Host: s.place.Host,
		Peer: s.peer, Connected: s.since, Types: map[string]ProxyStatus{},
	}
	if s.place.Locality != (registry.Locality{}) {
		p.LocalitySource = s.place.Source
	}
	for typeURL, t := range s.types {
		held := 0
		for _, version := range t.sent {
			if version != absent {
				held++
			}
		}
		p.Types[short(typeURL)] = ProxyStatus{
			Subscribed: len(t.names), Wildcard: t.wildcard, Held: held,
			Waiting: t.watch == nil, NACKs: t.nacks, NACK: t.nack,
		}
	}
	return p
}
