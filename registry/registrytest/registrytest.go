// Package registrytest is the suite that every Go-Micro registry of the mesh
// passes, against its real server. It asks for what Go-Micro's own plugins get
// wrong: each event of a batch is seen, a registration survives the server's
// restart, nothing blocks for long, and Close leaves no goroutine behind.
package registrytest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	microregistry "go-micro.dev/v4/registry"
	"go.uber.org/goleak"
)

// Registry is a registry that can be closed.
type Registry interface {
	microregistry.Registry
	io.Closer
}

// Backend is the kind of registry under test, with its server.
type Backend interface {
	// Open makes a client of the server for one node: a process of its own, as
	// far as the server can tell. The suite closes it.
	Open(t *testing.T, node string) Registry
	// Stop kills the server; Start brings it back with what it had stored.
	Stop(t *testing.T)
	Start(t *testing.T)
}

// patience is how long anything may take that happens by itself.
const patience = 20 * time.Second

// Run runs the suite. open starts a server of its own for each case, ended
// with the case.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"RegisteredIsFoundByOthers", registeredIsFound},
		{"MetadataSurvivesTheRoundTrip", metadataSurvives},
		{"RegisterAgainUpdates", registerAgainUpdates},
		{"RegisterWithoutTTLWorks", registerWithoutTTL},
		{"DeregisteredIsGone", deregisteredIsGone},
		{"DeregisterIsIdempotent", deregisterIsIdempotent},
		{"UnknownServiceIsNotFound", unknownIsNotFound},
		{"ListNamesEveryService", listNamesServices},
		{"WriterKeepsOffOthersNodes", writersKeepApart},
		{"VersionsAreServicesOfTheirOwn", versionsAreApart},
		{"WatchSeesEveryEventOfABatch", watchSeesBatch},
		{"WatchOfOneServiceSeesNoOther", watchSeesOnlyItsOwn},
		{"StoppedWatcherReturns", stoppedWatcherReturns},
		{"RegistrationSurvivesTheServersRestart", survivesRestart},
		{"OutageNeitherBlocksNorForgets", outageDoesNotBlock},
		{"RegisteredInAnOutageAppearsAfterIt", registeredInOutage},
		{"ConcurrentUseIsSafe", concurrentUse},
		{"CloseEndsEveryGoroutine", closeEndsGoroutines},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// client opens a registry that the case's end closes.
func client(t *testing.T, b Backend, node string) Registry {
	t.Helper()
	r := b.Open(t, node)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the registry of %s: %v", node, err)
		}
	})
	return r
}

// service is one node of a service, as Go-Micro's servers register it.
func service(name, version, node, address string) *microregistry.Service {
	return &microregistry.Service{
		Name: name, Version: version,
		Nodes: []*microregistry.Node{{Id: node, Address: address, Metadata: map[string]string{"protocol": "http"}}},
	}
}

func register(t *testing.T, r Registry, s *microregistry.Service) {
	t.Helper()
	if err := r.Register(s, microregistry.RegisterTTL(30*time.Second)); err != nil {
		t.Fatalf("register %s: %v", s.Name, err)
	}
}

// look returns a service as "version id address" lines; nothing if it is not
// there.
func look(r Registry, name string) ([]string, error) {
	services, err := r.GetService(name)
	if errors.Is(err, microregistry.ErrNotFound) {
		return nil, nil
	}
	var out []string
	for _, s := range services {
		for _, n := range s.Nodes {
			out = append(out, s.Version+" "+n.Id+" "+n.Address)
		}
	}
	slices.Sort(out)
	return out, err
}

// expect waits until a service looks like this.
func expect(t *testing.T, r Registry, name string, want ...string) {
	t.Helper()
	var got []string
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if got, err = look(r, name); err == nil && slices.Equal(got, want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("service %s is %q (error %v), want %q", name, got, err, want)
}

func registeredIsFound(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7001"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	expect(t, w, "users", "v1 users-1 127.0.0.1:7001")
}

func metadataSurvives(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	s := service("users", "v1", "users-1", "127.0.0.1:7001")
	s.Nodes[0].Metadata = map[string]string{"team": "红队", "empty": "", "a.b/c": "x=y\nz"}
	register(t, w, s)
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	services, err := r.GetService("users")
	if err != nil {
		t.Fatal(err)
	}
	got := services[0].Nodes[0].Metadata
	for k, v := range s.Nodes[0].Metadata {
		if g, ok := got[k]; !ok || g != v {
			t.Errorf("metadata %q is %q (there: %v), want %q", k, g, ok, v)
		}
	}
	// What a caller does with its copy is its own business.
	clear(got)
	again, err := r.GetService("users")
	if err != nil || again[0].Nodes[0].Metadata["team"] != "红队" {
		t.Errorf("a caller's change shows up in the next answer (error %v)", err)
	}
}

func registerAgainUpdates(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7001"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7001"))
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7002"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7002")
}

func registerWithoutTTL(t *testing.T, b Backend) {
	w := client(t, b, "n1")
	if err := w.Register(service("users", "v1", "users-1", "127.0.0.1:7001")); err != nil {
		t.Fatal(err)
	}
	expect(t, w, "users", "v1 users-1 127.0.0.1:7001")
}

func deregisteredIsGone(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	s := service("users", "v1", "users-1", "127.0.0.1:7001")
	register(t, w, s)
	register(t, w, service("orders", "v1", "orders-1", "127.0.0.1:7002"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	if err := w.Deregister(s); err != nil {
		t.Fatal(err)
	}
	expect(t, r, "users")
	expect(t, r, "orders", "v1 orders-1 127.0.0.1:7002")
}

func deregisterIsIdempotent(t *testing.T, b Backend) {
	w := client(t, b, "n1")
	s := service("users", "v1", "users-1", "127.0.0.1:7001")
	for range 2 {
		if err := w.Deregister(s); err != nil {
			t.Fatalf("deregister what is not registered: %v", err)
		}
	}
	register(t, w, s)
	for range 2 {
		if err := w.Deregister(s); err != nil {
			t.Fatal(err)
		}
	}
}

func unknownIsNotFound(t *testing.T, b Backend) {
	r := client(t, b, "n1")
	if _, err := r.GetService("users"); !errors.Is(err, microregistry.ErrNotFound) {
		t.Errorf("where nothing is registered: error %v, want ErrNotFound", err)
	}
	register(t, r, service("users", "v1", "users-1", "127.0.0.1:7001"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	if _, err := r.GetService("nobody"); !errors.Is(err, microregistry.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
}

func listNamesServices(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7001"))
	register(t, w, service("orders.shop", "v1", "orders-1", "127.0.0.1:7002"))
	var got []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		services, err := r.ListServices()
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, s := range services {
			got = append(got, s.Name)
		}
		if slices.Equal(got, []string{"orders.shop", "users"}) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("services %q", got)
}

func writersKeepApart(t *testing.T, b Backend) {
	one, two := client(t, b, "n1"), client(t, b, "n2")
	s := service("users", "v1", "users-1", "127.0.0.1:7001")
	register(t, one, s)
	register(t, two, service("users", "v1", "users-2", "127.0.0.1:7002"))
	expect(t, two, "users", "v1 users-1 127.0.0.1:7001", "v1 users-2 127.0.0.1:7002")
	if err := one.Deregister(s); err != nil {
		t.Fatal(err)
	}
	expect(t, one, "users", "v1 users-2 127.0.0.1:7002")
	expect(t, two, "users", "v1 users-2 127.0.0.1:7002")
}

func versionsAreApart(t *testing.T, b Backend) {
	one, two := client(t, b, "n1"), client(t, b, "n2")
	register(t, one, service("users", "v1", "users-1", "127.0.0.1:7001"))
	register(t, two, service("users", "v2", "users-2", "127.0.0.1:7002"))
	expect(t, one, "users", "v1 users-1 127.0.0.1:7001", "v2 users-2 127.0.0.1:7002")
	services, err := one.GetService("users")
	if err != nil || len(services) != 2 {
		t.Errorf("%d services (error %v), want one a version", len(services), err)
	}
}

func concurrentUse(t *testing.T, b Backend) {
	w := client(t, b, "n1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := service(fmt.Sprintf("svc%d", i), "v1", fmt.Sprintf("node-%d", i), fmt.Sprintf("127.0.0.1:720%d", i))
			for range 3 {
				if err := w.Register(s); err != nil {
					t.Errorf("register: %v", err)
				}
				if _, err := look(w, s.Name); err != nil {
					t.Errorf("look up: %v", err)
				}
				if err := w.Deregister(s); err != nil {
					t.Errorf("deregister: %v", err)
				}
			}
			if err := w.Register(s); err != nil {
				t.Errorf("register: %v", err)
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		expect(t, w, fmt.Sprintf("svc%d", i), fmt.Sprintf("v1 node-%d 127.0.0.1:720%d", i, i))
	}
}

func closeEndsGoroutines(t *testing.T, b Backend) {
	others := goleak.IgnoreCurrent()
	r := b.Open(t, "n1")
	register(t, r, service("users", "v1", "users-1", "127.0.0.1:7001"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	w, err := r.Watch()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for err == nil { // what it had to tell may come first
		_, err = w.Next()
	}
	if !errors.Is(err, microregistry.ErrWatcherStopped) {
		t.Errorf("a watcher of a closed registry says %v", err)
	}
	if err := r.Register(service("users", "v1", "users-1", "127.0.0.1:7001")); err == nil {
		t.Error("a closed registry registers")
	}
	goleak.VerifyNone(t, others)
}
