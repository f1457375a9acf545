package mesh_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	microregistry "go-micro.dev/v4/registry"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

// registrar is a registration server that answers as a test wants.
type registrar struct {
	pb.UnimplementedRegistrationServer
	mu     sync.Mutex
	hellos []*pb.Hello
	sets   []string                      // each Instances message, as "service=address …"
	refuse func(*pb.Instance) string     // a reason, or empty
	answer func(*pb.Instances) (ok bool) // false: the stream breaks instead
}

func (r *registrar) Register(s pb.Registration_RegisterServer) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if h := m.GetHello(); h != nil {
			r.mu.Lock()
			r.hellos = append(r.hellos, h)
			r.mu.Unlock()
			continue
		}
		resp, err := r.take(m.GetInstances())
		if err != nil {
			return err
		}
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

func (r *registrar) take(m *pb.Instances) (*pb.RegisterResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines, reasons []string
	for _, i := range m.GetInstances() {
		lines = append(lines, i.GetService()+"="+i.GetAddress())
		if r.refuse != nil {
			if reason := r.refuse(i); reason != "" {
				reasons = append(reasons, reason)
			}
		}
	}
	slices.Sort(lines)
	r.sets = append(r.sets, strings.Join(lines, " "))
	if r.answer != nil && !r.answer(m) {
		return nil, errors.New("the server has a bad day")
	}
	if len(reasons) > 0 {
		return &pb.RegisterResponse{Message: &pb.RegisterResponse_Refused{
			Refused: &pb.Refused{Version: m.GetVersion(), Errors: reasons},
		}}, nil
	}
	return &pb.RegisterResponse{Message: &pb.RegisterResponse_Accepted{
		Accepted: &pb.Accepted{Version: m.GetVersion()},
	}}, nil
}

func (r *registrar) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sets)
}

func (r *registrar) last() string {
	if all := r.received(); len(all) > 0 {
		return all[len(all)-1]
	}
	return "nothing"
}

func (r *registrar) greeted() []*pb.Hello {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hellos)
}

func startRegistrar(t *testing.T, change func(*mesh.Options)) (*adstest.Server, *registrar, *mesh.Registry) {
	t.Helper()
	reg := &registrar{}
	s := adstest.Start(t, func(g *grpc.Server) { pb.RegisterRegistrationServer(g, reg) })
	return s, reg, open(t, s.Addr(), change)
}

func open(t *testing.T, addr string, change func(*mesh.Options)) *mesh.Registry {
	t.Helper()
	o := mesh.Options{
		Dial: ads.DialOptions{Server: addr}, Network: "dc1", Node: "vm-1", Agent: "test/1",
		Backoff: ads.Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond},
	}
	if change != nil {
		change(&o)
	}
	r := mesh.New(o)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func service(name, addr string) *microregistry.Service {
	return &microregistry.Service{Name: name, Nodes: []*microregistry.Node{{Id: name + "-1", Address: addr}}}
}

func mustRegister(t *testing.T, r *mesh.Registry, s *microregistry.Service, opts ...microregistry.RegisterOption) {
	t.Helper()
	if err := r.Register(s, opts...); err != nil {
		t.Fatalf("register %s: %v", s.Name, err)
	}
}

func TestWholeSetIsSentAtEachChangeAndReconnect(t *testing.T) {
	s, reg, r := startRegistrar(t, nil)
	mustRegister(t, r, service("a", "10.0.0.1:1"))
	mustRegister(t, r, service("b", "10.0.0.1:2"))
	mustRegister(t, r, service("b", "10.0.0.1:2")) // nothing new: nothing sent
	if err := r.Deregister(service("a", "10.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	want := []string{"a=10.0.0.1:1", "a=10.0.0.1:1 b=10.0.0.1:2", "b=10.0.0.1:2"}
	if diff := cmp.Diff(want, reg.received()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	s.Stop()
	s.Restart()
	adstest.Eventually(t, "the set is sent again", func() bool { return len(reg.received()) == 4 })
	if got := reg.last(); got != "b=10.0.0.1:2" {
		t.Errorf("the new stream begins with %q", got)
	}
	hellos := reg.greeted()
	h := hellos[0]
	if h.GetNetwork() != "dc1" || h.GetNode() != "vm-1" || h.GetTtlSeconds() != 15 || h.GetAgent() != "test/1" || h.GetEpoch() == 0 {
		t.Errorf("hello %v", h)
	}
	if hellos[len(hellos)-1].GetEpoch() != h.GetEpoch() {
		t.Error("the epoch changed over a reconnect")
	}
}

func TestRefusedChangeTakesNothingWithIt(t *testing.T) {
	s, reg, r := startRegistrar(t, nil)
	reg.refuse = func(i *pb.Instance) string {
		if strings.HasPrefix(i.GetService(), "bad") {
			return i.GetService() + ": has a bad name"
		}
		return ""
	}
	mustRegister(t, r, service("good", "10.0.0.1:1"))
	err := r.Register(&microregistry.Service{Name: "bad", Nodes: []*microregistry.Node{{Id: "x", Address: "10.0.0.1:2"}}})
	var refused *mesh.RefusedError
	if !errors.As(err, &refused) || !slices.Equal(refused.Reasons, []string{"bad: has a bad name"}) {
		t.Fatalf("error %v, want the control plane's reasons", err)
	}
	mustRegister(t, r, service("also-good", "10.0.0.1:3"))
	if got := reg.last(); got != "also-good=10.0.0.1:3 good=10.0.0.1:1" {
		t.Errorf("the next message holds %q", got)
	}
	if err := r.Deregister(service("bad", "10.0.0.1:2")); err != nil {
		t.Errorf("deregister what was refused: %v", err)
	}
	n := len(reg.received())
	s.Stop()
	s.Restart()
	adstest.Eventually(t, "the set is sent again", func() bool { return len(reg.received()) > n })
	if got := reg.last(); got != "also-good=10.0.0.1:3 good=10.0.0.1:1" {
		t.Errorf("the new stream begins with %q", got)
	}
}

func TestUnansweredRegistrationIsTakenBackByDeregister(t *testing.T) {
	_, reg, r := startRegistrar(t, func(o *mesh.Options) { o.Timeout = 50 * time.Millisecond })
	reg.answer = func(m *pb.Instances) bool { return len(m.GetInstances()) == 0 }
	err := r.Register(service("a", "10.0.0.1:1"))
	if !errors.Is(err, mesh.ErrPending) {
		t.Fatalf("error %v, want ErrPending", err)
	}
	// The server may have stored it before it broke the stream, so it must be
	// told; and it answers an empty set.
	adstest.Eventually(t, "it was sent", func() bool { return reg.last() == "a=10.0.0.1:1" })
	if err := r.Deregister(service("a", "10.0.0.1:1")); err != nil && !errors.Is(err, mesh.ErrPending) {
		t.Fatal(err)
	}
	adstest.Eventually(t, "the empty set is sent", func() bool { return reg.last() == "" })
	adstest.Eventually(t, "nothing is left to do", func() bool {
		st := r.Status().Registration
		return st.Pending == 0 && st.Connected && len(st.Accepted) == 0
	})
}

func TestPendingRegistrationIsMadeWhenTheControlPlaneComes(t *testing.T) {
	s, reg, r := startRegistrar(t, func(o *mesh.Options) { o.Timeout = 30 * time.Millisecond })
	s.Stop()
	for range 3 { // as a registrar does that retries
		if err := r.Register(service("a", "10.0.0.1:1")); !errors.Is(err, mesh.ErrPending) {
			t.Fatalf("error %v, want ErrPending", err)
		}
	}
	if st := r.Status().Registration; st.Pending != 1 || st.LastError == "" {
		t.Errorf("the same registration is pending %d times; last error %q", st.Pending, st.LastError)
	}
	// One that is taken back before it was ever sent needs no server.
	if err := r.Register(service("b", "10.0.0.1:2")); !errors.Is(err, mesh.ErrPending) {
		t.Fatalf("error %v, want ErrPending", err)
	}
	if err := r.Deregister(service("b", "10.0.0.1:2")); err != nil {
		t.Errorf("deregister what was never sent: %v", err)
	}
	s.Restart()
	adstest.Eventually(t, "it is accepted", func() bool {
		return slices.Equal(r.Status().Registration.Accepted, []string{"dc1/vm-1/default/a/http"})
	})
	if diff := cmp.Diff([]string{"a=10.0.0.1:1"}, reg.received()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	b, err := json.Marshal(r.Status())
	if err != nil || !strings.Contains(string(b), `"accepted":["dc1/vm-1/default/a/http"]`) {
		t.Errorf("status %s (error %v)", b, err)
	}
}

func TestDeregisteredInAnOutageIsNotRegisteredAgain(t *testing.T) {
	s, reg, r := startRegistrar(t, func(o *mesh.Options) { o.Timeout = 30 * time.Millisecond })
	mustRegister(t, r, service("a", "10.0.0.1:1"))
	mustRegister(t, r, service("b", "10.0.0.1:2"))
	s.Stop()
	if err := r.Deregister(service("a", "10.0.0.1:1")); !errors.Is(err, mesh.ErrPending) {
		t.Errorf("error %v, want ErrPending", err)
	}
	s.Restart()
	adstest.Eventually(t, "the rest is sent", func() bool { return reg.last() == "b=10.0.0.1:2" })
	for _, set := range reg.received()[2:] {
		if strings.Contains(set, "a=") {
			t.Errorf("after the outage %q was sent", set)
		}
	}
}

func TestLongestTTLIsTheNodes(t *testing.T) {
	_, reg, r := startRegistrar(t, nil)
	mustRegister(t, r, service("a", "10.0.0.1:1"), microregistry.RegisterTTL(5*time.Second))
	mustRegister(t, r, service("b", "10.0.0.1:2"), microregistry.RegisterTTL(1500*time.Millisecond))
	mustRegister(t, r, service("c", "10.0.0.1:3"), microregistry.RegisterTTL(time.Minute))
	var got []uint32
	for _, h := range reg.greeted() {
		got = append(got, h.GetTtlSeconds())
	}
	if diff := cmp.Diff([]uint32{5, 60}, got); diff != "" {
		t.Errorf("leases asked for (-want +got):\n%s", diff)
	}
	if got := reg.last(); got != "a=10.0.0.1:1 b=10.0.0.1:2 c=10.0.0.1:3" {
		t.Errorf("the control plane has %q", got)
	}
}

func TestEveryFieldReachesTheControlPlane(t *testing.T) {
	reg := &registrar{}
	var got *pb.Instance
	reg.answer = func(m *pb.Instances) bool { got = m.GetInstances()[0]; return true }
	s := adstest.Start(t, func(g *grpc.Server) { pb.RegisterRegistrationServer(g, reg) })
	r := open(t, s.Addr(), nil)
	mustRegister(t, r, micro.Services(registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network: "dc1", Node: "vm-1", PortName: "web",
			Service: registry.ServiceName{Namespace: "shop", Name: "orders"},
		},
		Address: "10.0.0.7:15006", PortNumber: 8080, Protocol: registry.ProtocolHTTP2, Version: "v2", Weight: 3,
		Host: "vm-17", Locality: registry.Locality{Region: "bj", Zone: "bj-2", Subzone: "r7"},
		Status: registry.StatusDraining, Metadata: map[string]string{"app": "127.0.0.1:8080"},
	})[0])
	reg.mu.Lock()
	defer reg.mu.Unlock()
	want := `{"namespace":"shop","service":"orders","port_name":"web","address":"10.0.0.7:15006","port_number":8080,` +
		`"protocol":"http2","version":"v2","weight":3,"host":"vm-17","region":"bj","zone":"bj-2","subzone":"r7",` +
		`"status":"draining","metadata":{"app":"127.0.0.1:8080"}}`
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
}

func TestMistakesAreFoundBeforeAnythingIsSent(t *testing.T) {
	_, reg, r := startRegistrar(t, nil)
	for _, tc := range []struct {
		name string
		s    *microregistry.Service
		want string
	}{
		{"no service", nil, "no service is given"},
		{"bad name", service("Orders", "10.0.0.1:1"), "not a DNS label"},
		{"port in the name", service("orders:80", "10.0.0.1:1"), "has no port in its name"},
		{"no port in the address", service("orders", "10.0.0.1"), "has no port"},
		{"another node's", &microregistry.Service{Name: "orders", Nodes: []*microregistry.Node{
			{Id: "x", Address: "10.0.0.1:1", Metadata: map[string]string{micro.KeyNode: "vm-2"}},
		}}, "dc1/vm-2 is another node than this one, dc1/vm-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := r.Register(tc.s); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want …%s…", err, tc.want)
			}
		})
	}
	if got := reg.received(); len(got) != 0 {
		t.Errorf("sent %q", got)
	}
}

func TestInitTakesGoMicrosOptions(t *testing.T) {
	s, reg, _ := startRegistrar(t, nil)
	r := open(t, "", nil)
	if err := r.Register(service("a", "10.0.0.1:1")); err == nil {
		t.Error("registered without a server")
	}
	if err := r.Init(microregistry.Addrs(s.Addr()), microregistry.Timeout(3*time.Second)); err != nil {
		t.Fatal(err)
	}
	mustRegister(t, r, service("a", "10.0.0.1:1"))
	if got := reg.last(); got != "a=10.0.0.1:1" {
		t.Errorf("sent %q", got)
	}
	if o := r.Options(); !slices.Equal(o.Addrs, []string{s.Addr()}) || o.Timeout != 3*time.Second {
		t.Errorf("options %v %v", o.Addrs, o.Timeout)
	}
	if err := r.Init(microregistry.Addrs("127.0.0.1:1")); err == nil {
		t.Error("the server was changed in use")
	}
	if r.String() != "mesh" {
		t.Errorf("kind %q", r.String())
	}
}

func TestNothingIsStartedBeforeItsFirstUse(t *testing.T) {
	s, reg, r := startRegistrar(t, nil)
	if err := r.Deregister(service("a", "10.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); st.Registration != nil || st.Discovery != nil {
		t.Errorf("status %+v", st)
	}
	if len(reg.greeted()) != 0 || len(s.Requests("")) != 0 {
		t.Error("the server was called")
	}
}
