package serve

import (
	"context"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// maxResponse is about how many bytes one response has at most, below the
// 4 MiB that a gRPC client takes unless told otherwise. The rest follows when
// the client has answered. A larger resource is sent alone.
const maxResponse = 3 << 20

// part says which of the dirty names a response is made of.
type part uint8

const (
	additions part = 1 << iota // what is there, and what never was
	removals                   // what was there and is gone
)

// dispatch sends, in order, what waits and may be sent.
func (s *session) dispatch() {
	for _, t := range targets {
		s.respond(t, additions)
	}
	// What names a target may go only when no target waits to go before it.
	if !s.waiting(targets, additions) {
		for _, t := range referrers {
			s.respond(t, additions|removals)
		}
	}
	// A target may go only when nothing that may have named it waits.
	if !s.waiting(referrers, additions|removals) {
		for _, t := range targets {
			s.respond(t, removals)
		}
	}
	for _, t := range served[len(targets)+len(referrers):] {
		s.respond(t, additions|removals)
	}
}

// waiting reports whether one of the types has something to send of that part.
func (s *session) waiting(types []string, p part) bool {
	for _, typeURL := range types {
		t := s.types[typeURL]
		if t == nil {
			continue
		}
		for name := range t.dirty {
			if _, is := s.news(typeURL, t, name); is&p != 0 {
				return true
			}
		}
	}
	return false
}

// news says what there is to say of a dirty name: the resource to send (nil
// for a removal) and which part that is, zero for nothing.
func (s *session) news(typeURL string, t *typeState, name string) (*resource, part) {
	_, named := t.names[name]
	if !named && !t.wildcard {
		return nil, 0
	}
	r := s.lookup(typeURL, name)
	sent, told := t.sent[name]
	forced := t.dirty[name]
	switch {
	case r != nil && (forced || !told || sent != r.version()):
		return r, additions
	case r != nil:
		return nil, 0
	case told && sent != absent:
		return nil, removals
	case forced || named && !told:
		return nil, additions // that there is none is news that breaks nothing
	}
	return nil, 0
}

// respond answers the type's open watch, if it has one, with what waits of
// that part.
func (s *session) respond(typeURL string, p part) {
	t := s.types[typeURL]
	if t == nil || t.watch == nil {
		return
	}
	response := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(t.dirty)) {
		r, is := s.news(typeURL, t, name)
		if is == 0 {
			delete(t.dirty, name)
			continue
		}
		if is&p == 0 {
			continue
		}
		if r == nil {
			response.RemovedResources = append(response.RemovedResources, name)
			t.tellAbsent(name)
			continue
		}
		if size > 0 && size+r.size > maxResponse {
			break
		}
		size += r.size
		response.Resources = append(response.Resources, r.wire)
		t.sent[name] = r.version()
		delete(t.dirty, name)
	}
	empty := len(response.GetResources()) == 0 && len(response.GetRemovedResources()) == 0
	// The first answer to "everything" is due even if that is nothing: clients
	// wait for it.
	if empty && (t.answered || !t.wildcard) {
		return
	}
	if typeURL == resourcev3.ClusterType {
		s.refreshEndpoints(response.GetResources())
	}
	s.send(t, response)
}

// tellAbsent notes that the client knows that there is no such resource.
func (t *typeState) tellAbsent(name string) {
	delete(t.dirty, name)
	if _, named := t.names[name]; named {
		t.sent[name] = absent
	} else {
		delete(t.sent, name)
	}
}

// refreshEndpoints has the endpoints of clusters sent again: a client that gets
// a cluster warms it, and waits for its endpoints though it has them.
func (s *session) refreshEndpoints(clusters []*discoveryv3.Resource) {
	t := s.types[resourcev3.EndpointType]
	if t == nil {
		return
	}
	for _, c := range clusters {
		if v, ok := t.sent[c.GetName()]; ok && v != absent {
			t.look(c.GetName(), true)
		}
	}
}

// send hands the response to the server. Its channel has room: a type has one
// open watch, a watch answers once, and the server empties the channel before
// it takes the next request.
func (s *session) send(t *typeState, response *discoveryv3.DeltaDiscoveryResponse) {
	w := t.watch
	select {
	case w.out <- &delta{request: w.request, response: response}:
		t.watch = nil
		t.answered = true
	default:
		s.cache.log.Error("the channel of responses is full, which cannot be: the stream is ended", "node", s.node.GetId())
		s.abort()
	}
}

// delta is a response on its way through the server. Responses of many streams
// share their resources; each has its own envelope, for its nonce.
type delta struct {
	request  *discoveryv3.DeltaDiscoveryRequest
	response *discoveryv3.DeltaDiscoveryResponse
}

// GetDeltaDiscoveryResponse implements cache.DeltaResponse.
func (d *delta) GetDeltaDiscoveryResponse() (*discoveryv3.DeltaDiscoveryResponse, error) {
	return d.response, nil
}

// GetDeltaRequest implements cache.DeltaResponse.
func (d *delta) GetDeltaRequest() *discoveryv3.DeltaDiscoveryRequest { return d.request }

// GetSystemVersion implements cache.DeltaResponse; there is none.
func (d *delta) GetSystemVersion() (string, error) { return "", nil }

// GetResponseVersion implements cache.DeltaResponse; there is none.
func (d *delta) GetResponseVersion() string { return "" }

// GetNextVersionMap implements cache.DeltaResponse. The session keeps what was
// sent itself; the server wants a map of its own to write to.
func (d *delta) GetNextVersionMap() map[string]string { return map[string]string{} }

// GetReturnedResources implements cache.DeltaResponse, like GetNextVersionMap.
func (d *delta) GetReturnedResources() map[string]string { return map[string]string{} }

// GetContext implements cache.DeltaResponse.
func (d *delta) GetContext() context.Context { return context.Background() }
