package adstest

import (
	"maps"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/ads"
)

type deltaServer = grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

// stream is one client's. Its types are guarded by the server's lock.
type stream struct {
	s     *Server
	types map[string]*watched
	wake  chan struct{}
	nonce int
}

// watched is one type of a stream.
type watched struct {
	names []string
	sent  map[string]string // version by name; empty: told that it is not there
	first bool              // nothing was answered yet
}

func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// DeltaAggregatedResources serves one stream.
func (s *Server) DeltaAggregatedResources(gs deltaServer) error {
	st := &stream{s: s, types: map[string]*watched{}, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, st)
		s.mu.Unlock()
	}()
	ended := make(chan error, 1)
	go func() {
		for {
			req, err := gs.Recv()
			if err != nil {
				ended <- err
				return
			}
			st.request(req)
		}
	}()
	for {
		select {
		case err := <-ended:
			return err
		case <-st.wake:
			for _, resp := range st.responses() {
				if err := gs.Send(resp); err != nil {
					return err
				}
			}
		}
	}
}

func (st *stream) request(req *discoveryv3.DeltaDiscoveryRequest) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.requests = append(st.s.requests, req)
	w := st.types[req.GetTypeUrl()]
	if w == nil {
		w = &watched{sent: map[string]string{}, first: true}
		st.types[req.GetTypeUrl()] = w
		maps.Copy(w.sent, req.GetInitialResourceVersions())
	}
	for _, n := range req.GetResourceNamesUnsubscribe() {
		w.names = slices.DeleteFunc(w.names, func(have string) bool { return have == n })
		delete(w.sent, n)
	}
	for _, n := range req.GetResourceNamesSubscribe() {
		if !slices.Contains(w.names, n) {
			w.names = append(w.names, n)
		}
	}
	st.poke()
}

// responses are what the stream has not been told yet.
func (st *stream) responses() []*discoveryv3.DeltaDiscoveryResponse {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	var out []*discoveryv3.DeltaDiscoveryResponse
	for _, typeURL := range order {
		if w := st.types[typeURL]; w != nil {
			if resp := st.response(typeURL, w); resp != nil {
				out = append(out, resp)
			}
		}
	}
	return out
}

func (st *stream) response(typeURL string, w *watched) *discoveryv3.DeltaDiscoveryResponse {
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL}
	world := st.s.resources[typeURL]
	for n, r := range world {
		if !slices.Contains(w.names, n) && !slices.Contains(w.names, ads.Wildcard) || w.sent[n] == r.version {
			continue
		}
		w.sent[n] = r.version
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: n, Version: r.version, Resource: r.body})
	}
	for n, v := range w.sent {
		if _, ok := world[n]; !ok && v != "" {
			resp.RemovedResources = append(resp.RemovedResources, n)
			w.sent[n] = ""
		}
	}
	for _, n := range w.names {
		_, exists := world[n]
		if _, told := w.sent[n]; !exists && !told && n != ads.Wildcard && !st.s.silent {
			resp.RemovedResources = append(resp.RemovedResources, n)
			w.sent[n] = ""
		}
	}
	empty := len(resp.Resources)+len(resp.RemovedResources) == 0
	if empty && (!w.first || !slices.Contains(w.names, ads.Wildcard)) {
		return nil
	}
	w.first = false
	st.nonce++
	resp.Nonce = strconv.Itoa(st.nonce)
	return resp
}
