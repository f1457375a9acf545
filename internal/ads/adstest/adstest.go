// Package adstest is a small xDS server for the tests of clients: a real gRPC
// server on loopback that speaks delta ADS, serves what a test puts into it,
// can be stopped and started again on its port, and remembers what it was asked.
package adstest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
)

// order is the one in which types are sent: make before break.
var order = []string{ads.ClusterType, ads.EndpointType, ads.ListenerType, ads.RouteType}

type resource struct {
	version string
	body    *anypb.Any
}

// Server is the server. Its methods may be called from any goroutine.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	t        *testing.T
	register []func(*grpc.Server)

	mu        sync.Mutex
	addr      string
	resources map[string]map[string]resource // type, name
	requests  []*discoveryv3.DeltaDiscoveryRequest
	streams   map[*stream]struct{}
	silent    bool // does not tell of names that it does not know
	grpc      *grpc.Server
	served    chan struct{}
}

// Start starts a server that the test's end stops. Other services can be
// registered on it.
func Start(t *testing.T, register ...func(*grpc.Server)) *Server {
	t.Helper()
	s := &Server{
		t:         t,
		register:  register,
		addr:      "127.0.0.1:0",
		resources: map[string]map[string]resource{},
		streams:   map[*stream]struct{}{},
	}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the server again, on the same port, after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	var lis net.Listener
	var err error
	for deadline := time.Now().Add(5 * time.Second); ; {
		if lis, err = net.Listen("tcp", s.Addr()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("listen on %s: %v", s.Addr(), err)
		}
	}
	g := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	for _, r := range s.register {
		r(g)
	}
	served := make(chan struct{})
	s.mu.Lock()
	s.addr, s.grpc, s.served = lis.Addr().String(), g, served
	s.mu.Unlock()
	go func() {
		defer close(served)
		if err := g.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Errorf("serve: %v", err)
		}
	}()
}

// Stop breaks every stream and waits for the server's end. What it serves
// stays for Restart.
func (s *Server) Stop() {
	s.mu.Lock()
	g, served := s.grpc, s.served
	s.mu.Unlock()
	g.Stop()
	<-served
}

// Addr is where it listens; it stays the same over Restart.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Silent makes the server say nothing of names that it does not know, as some
// control planes do.
func (s *Server) Silent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

// Set serves m under a name and version.
func (s *Server) Set(name, version string, m proto.Message) {
	s.t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		s.t.Fatalf("pack %s: %v", name, err)
	}
	s.SetBody(body.GetTypeUrl(), name, version, body)
}

// SetBody serves a resource as it is, well formed or not.
func (s *Server) SetBody(typeURL, name, version string, body *anypb.Any) {
	s.Edit(func(e Editor) { e.set(typeURL, name, version, body) })
}

// Remove takes resources away.
func (s *Server) Remove(typeURL string, names ...string) {
	s.Edit(func(e Editor) {
		for _, n := range names {
			delete(s.resources[typeURL], n)
		}
	})
}

// Editor changes several resources at once.
type Editor struct{ s *Server }

// Set serves m under a name and version.
func (e Editor) Set(name, version string, m proto.Message) {
	body, err := anypb.New(m)
	if err != nil {
		panic(fmt.Sprintf("pack %s: %v", name, err))
	}
	e.set(body.GetTypeUrl(), name, version, body)
}

// Remove takes a resource away.
func (e Editor) Remove(typeURL, name string) { delete(e.s.resources[typeURL], name) }

func (e Editor) set(typeURL, name, version string, body *anypb.Any) {
	if e.s.resources[typeURL] == nil {
		e.s.resources[typeURL] = map[string]resource{}
	}
	e.s.resources[typeURL][name] = resource{version: version, body: body}
}

// Edit makes several changes that reach each stream in one batch.
func (s *Server) Edit(change func(Editor)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(Editor{s})
	for st := range s.streams {
		st.poke()
	}
}

// Requests are those of a type received so far, over all streams; all types
// if the type is empty.
func (s *Server) Requests(typeURL string) []*discoveryv3.DeltaDiscoveryRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*discoveryv3.DeltaDiscoveryRequest
	for _, r := range s.requests {
		if typeURL == "" || r.GetTypeUrl() == typeURL {
			out = append(out, r)
		}
	}
	return out
}

// Forget forgets the requests received so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Nacks are the error details received so far.
func (s *Server) Nacks() []string {
	var out []string
	for _, r := range s.Requests("") {
		if d := r.GetErrorDetail(); d != nil {
			out = append(out, d.GetMessage())
		}
	}
	return out
}

// Subscribed reports whether a live stream has subscribed to the name.
func (s *Server) Subscribed(typeURL, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		if t := st.types[typeURL]; t != nil && slices.Contains(t.names, name) {
			return true
		}
	}
	return false
}

// Eventually waits until ok holds, and fails the test if it does not in 10 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
