package mesh_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a running mesh of the sources a and b, a first.
type world struct {
	t       *testing.T
	mesh    *mesh.Mesh
	updates chan source.Update
	mu      sync.Mutex
	changes []mesh.Change
}

func newWorld(t *testing.T, log io.Writer) *world {
	t.Helper()
	w := &world{t: t, updates: make(chan source.Update, 100)}
	w.mesh = mesh.New(mesh.Options{
		Logger: slog.New(slog.NewTextHandler(log, nil)), Sources: []string{"a", "b"}, Metrics: prometheus.NewRegistry(),
		Publish: func(c mesh.Change) { w.mu.Lock(); defer w.mu.Unlock(); w.changes = append(w.changes, c) },
	})
	return w
}

// run runs the mesh until the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.mesh.Run(ctx, w.updates) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
}

// synced is a running mesh whose sources have nothing.
func synced(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, io.Discard)
	w.run()
	w.updates <- source.Update{Source: "a", Synced: true}
	w.updates <- source.Update{Source: "b", Synced: true}
	w.wait(w.mesh.Ready())
	return w
}

func (w *world) wait(c <-chan struct{}) {
	w.t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		w.t.Fatal("nothing happened")
	}
}

// send waits until the update is published.
func (w *world) send(from, key string, c source.Content) {
	w.t.Helper()
	done := make(chan struct{})
	w.updates <- source.Update{Source: from, Key: key, Content: c, Done: func() { close(done) }}
	w.wait(done)
}

func (w *world) published() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.changes)
}

func (w *world) last() mesh.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes[len(w.changes)-1]
}

var orders = registry.ServiceName{Namespace: "default", Name: "orders"}

func instance(node, port, address string, edit ...func(*source.Instance)) source.Instance {
	i := source.Instance{Instance: registry.Instance{
		InstanceKey: registry.InstanceKey{Network: "default", Node: node, Service: orders, PortName: port},
		Address:     address, Status: registry.StatusUp, Protocol: registry.ProtocolHTTP, Weight: 1,
	}}
	for _, e := range edit {
		e(&i)
	}
	return i
}

func number(n uint16) func(*source.Instance) { return func(i *source.Instance) { i.PortNumber = n } }
func epoch(n int64) func(*source.Instance)   { return func(i *source.Instance) { i.Epoch = n } }
func status(s registry.Status) func(*source.Instance) {
	return func(i *source.Instance) { i.Status = s }
}

func instances(all ...source.Instance) source.Content { return source.Content{Instances: all} }

func declared(ports ...registry.Port) source.Content {
	return source.Content{Services: []*object.MeshService{{
		Meta:  object.Meta{ID: object.ID{Kind: object.KindMeshService, Namespace: "default", Name: "orders"}},
		Ports: ports,
	}}}
}

// want compares the service's ports: name:number and the addresses behind it.
func (w *world) want(ports ...string) {
	w.t.Helper()
	got := []string{}
	if svc := w.mesh.Snapshot().Service(orders); svc != nil {
		for _, p := range svc.Ports {
			words := []string{p.Name + " " + orders.PortName(p.Number)}
			for _, i := range p.Instances {
				words = append(words, i.Address)
			}
			got = append(got, strings.Join(words, " "))
		}
	}
	if diff := cmp.Diff(ports, got, cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func TestNothingIsPublishedBeforeEverySourceHasSynced(t *testing.T) {
	w := newWorld(t, io.Discard)
	w.run()
	w.updates <- source.Update{Source: "a", Key: "k", Content: instances(instance("n1", "http", "10.0.0.1:1"))}
	w.updates <- source.Update{Source: "a", Synced: true}
	served := make(chan struct{})
	w.updates <- source.Update{Source: "b", Key: "k", Content: instances(instance("n2", "http", "10.0.0.2:1")), Done: func() { close(served) }}
	for len(w.updates) > 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-w.mesh.Ready():
		t.Fatal("ready before the last source has synced")
	case <-served:
		t.Fatal("an update is said to be served before anything is")
	default:
	}
	w.updates <- source.Update{Source: "b", Synced: true}
	w.wait(w.mesh.Ready())
	w.wait(served)
	w.want("http orders.default:80 10.0.0.1:1 10.0.0.2:1")
	if n := w.published(); n != 1 {
		t.Errorf("published %d times, want the first world at once", n)
	}
}

func TestAnEmptyWorldIsReadyToo(t *testing.T) {
	w := synced(t)
	if n := w.published(); n != 1 {
		t.Errorf("published %d times, want 1", n)
	}
}

func TestAnUpdateThatChangesNothingIsNotPublished(t *testing.T) {
	w := synced(t)
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1")))
	before, snapshot := w.published(), w.mesh.Snapshot()
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1")))
	if n := w.published() - before; n != 0 {
		t.Errorf("published %d times, want none", n)
	}
	if w.mesh.Snapshot() != snapshot {
		t.Error("the snapshot was replaced by an equal one")
	}
}

func TestAChangeNamesTheServicesThatDifferAndLeavesTheOthers(t *testing.T) {
	w := synced(t)
	users := instance("n1", "http", "10.0.0.1:2")
	users.Service.Name = "users"
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1"), users))
	before := w.mesh.Snapshot()
	w.send("a", "n2", instances(instance("n2", "http", "10.0.0.2:1")))
	c := w.last()
	if diff := cmp.Diff([]registry.ServiceName{orders}, c.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if c.Old != before || c.New != w.mesh.Snapshot() || c.Routes {
		t.Errorf("change %+v is not between the snapshots, of services alone", c)
	}
	if c.New.Service(users.Service) != before.Service(users.Service) {
		t.Error("a service that did not change was made anew")
	}
}

func TestImpliedPorts(t *testing.T) {
	tests := []struct {
		name      string
		instances []source.Instance
		want      []string
	}{
		{
			"one port without a number is the default port",
			[]source.Instance{instance("n1", "web", "10.0.0.1:1")},
			[]string{"web orders.default:80 10.0.0.1:1"},
		},
		{
			"a number is the port",
			[]source.Instance{instance("n1", "web", "10.0.0.1:1", number(8080))},
			[]string{"web orders.default:8080 10.0.0.1:1"},
		},
		{"of several without a number the one called http is the default port", []source.Instance{
			instance("n1", "admin", "10.0.0.1:2"), instance("n1", "http", "10.0.0.1:1"),
		}, []string{"http orders.default:80 10.0.0.1:1"}},
		{"of several without a number and none called http it is the first", []source.Instance{
			instance("n1", "b", "10.0.0.1:2"), instance("n1", "a", "10.0.0.1:1"),
		}, []string{"a orders.default:80 10.0.0.1:1"}},
		{"a number that is the default port is not given away", []source.Instance{
			instance("n1", "admin", "10.0.0.1:2", number(80)), instance("n1", "http", "10.0.0.1:1"),
		}, []string{"admin orders.default:80 10.0.0.1:2"}},
		{"every number that instances name reaches all of them", []source.Instance{
			instance("n1", "http", "10.0.0.1:1", number(80)), instance("n2", "http", "10.0.0.2:1", number(8080)), instance("n3", "http", "10.0.0.3:1"),
		}, []string{
			"http orders.default:80 10.0.0.1:1 10.0.0.2:1 10.0.0.3:1",
			"http orders.default:8080 10.0.0.1:1 10.0.0.2:1 10.0.0.3:1",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := synced(t)
			w.send("a", "k", instances(tt.instances...))
			w.want(tt.want...)
		})
	}
}

func TestAnImpliedServiceStaysKnownWithoutInstances(t *testing.T) {
	w := synced(t)
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1"), instance("n1", "admin", "10.0.0.1:2", number(9090))))
	w.send("a", "n1", source.Content{})
	w.want("http orders.default:80", "admin orders.default:9090")
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1")))
	w.want("http orders.default:80 10.0.0.1:1", "admin orders.default:9090")
}

func TestAnImpliedPortMovesWithItsInstances(t *testing.T) {
	w := synced(t)
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1")))
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1", number(8080))))
	w.want("http orders.default:8080 10.0.0.1:1")
}

func TestADeclaredServiceHasItsPortsAndInstancesJoinByName(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, &log)
	w.run()
	w.updates <- source.Update{Source: "a", Synced: true}
	w.updates <- source.Update{Source: "b", Synced: true}
	w.wait(w.mesh.Ready())
	w.send("b", "f", declared(registry.Port{Name: "http", Number: 8080}, registry.Port{Name: "idle", Number: 81}))
	for range 2 {
		w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1"), instance("n1", "other", "10.0.0.1:2", number(90))))
		w.send("a", "n1", instances(instance("n1", "other", "10.0.0.1:2", number(90))))
	}
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1"), instance("n1", "other", "10.0.0.1:2", number(90))))
	w.want("idle orders.default:81", "http orders.default:8080 10.0.0.1:1")
	if n := strings.Count(log.String(), "port=other"); n != 1 {
		t.Errorf("the port that is not declared is logged %d times, want once:\n%s", n, log.String())
	}
	// Undeclared, it is what the instances imply.
	w.send("b", "f", source.Content{})
	w.want("http orders.default:80 10.0.0.1:1", "other orders.default:90 10.0.0.1:2")
}

func TestOneAddressIsThereOnceAndTheLaterProcessHasIt(t *testing.T) {
	w := synced(t)
	w.send("a", "n1", instances(instance("n1", "http", "10.0.0.1:1", epoch(10), status(registry.StatusDraining))))
	w.send("a", "n2", instances(instance("n2", "http", "10.0.0.1:1", epoch(20))))
	w.send("a", "n3", instances(instance("n3", "http", "10.0.0.1:1", epoch(20))))
	w.want("http orders.default:80 10.0.0.1:1")
	if i := w.mesh.Snapshot().Service(orders).Port(80).Instances[0]; i.Node != "n2" || i.Status != registry.StatusUp {
		t.Errorf("the address belongs to %s (%s), want n2, up", i.Node, i.Status)
	}
}

func TestSeveralSourcesOfOneInstanceAreMerged(t *testing.T) {
	w := synced(t)
	a := instance("n1", "http", "10.0.0.1:1")
	b := instance("n1", "http", "10.0.0.9:9", status(registry.StatusDraining))
	b.Locality = registry.Locality{Region: "bj", Zone: "bj-1"}
	w.send("b", "n1", instances(b))
	w.send("a", "n1", instances(a))
	got := w.mesh.Snapshot().Service(orders).Port(80).Instances
	want := []mesh.Instance{{Instance: a.Instance, Source: "a"}}
	want[0].Status, want[0].StatusSource = registry.StatusDraining, "b"
	want[0].Locality, want[0].LocalitySource = b.Locality, "b"
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(mesh.Instance{})); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
	w.send("a", "n1", source.Content{})
	w.want("http orders.default:80 10.0.0.9:9")
}

func TestRoutesAreOrderedByAgeThenName(t *testing.T) {
	route := func(name string, created time.Time) *object.HTTPRoute {
		return &object.HTTPRoute{Meta: object.Meta{ID: object.ID{Kind: object.KindHTTPRoute, Namespace: "default", Name: name}, Created: created}}
	}
	day := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	w := synced(t)
	w.send("a", "f", source.Content{Routes: []*object.HTTPRoute{
		route("b", time.Time{}), route("a", time.Time{}), route("y", day), route("x", day), route("z", day.Add(-time.Hour)),
	}})
	w.send("b", "f", source.Content{Routes: []*object.HTTPRoute{route("a", day.Add(-time.Minute)), route("c", time.Time{})}})
	var got []string
	for _, r := range w.mesh.Snapshot().Routes {
		got = append(got, r.Name)
	}
	if diff := cmp.Diff([]string{"z", "x", "y", "a", "b", "c"}, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if !w.last().Routes {
		t.Error("the change does not say that the routes differ")
	}
}

func TestAnUpdateOfAnUnknownSourceEndsTheMesh(t *testing.T) {
	w := newWorld(t, io.Discard)
	w.updates <- source.Update{Source: "c", Key: "k"}
	err := w.mesh.Run(t.Context(), w.updates)
	if err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Fatalf("got %v, want an error that names the source", err)
	}
}
