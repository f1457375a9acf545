package sidecar_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/sidecar"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/bolt"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

// patience bounds every wait.
const patience = 10 * time.Second

// countingStore counts the changes that reach the store.
type countingStore struct {
	store.Store
	changes atomic.Int32
}

func (s *countingStore) PutNode(ctx context.Context, n store.Node) error {
	s.changes.Add(1)
	return s.Store.PutNode(ctx, n)
}

// world is a Source behind a real gRPC server, and a mesh that notes what it
// is told.
type world struct {
	t      *testing.T
	path   string
	source *sidecar.Source
	store  *countingStore
	conn   *grpc.ClientConn
	stop   func()

	mu     sync.Mutex
	known  map[string][]string // addresses by key
	hold   bool                // do not say that updates are served
	held   []func()
	synced bool
}

type options struct {
	path   string // of the store; empty: a new one
	limits sidecar.Limits
	grace  time.Duration
}

func start(t *testing.T, o options) *world {
	t.Helper()
	if o.path == "" {
		o.path = filepath.Join(t.TempDir(), "outrigger.db")
	}
	if o.limits == (sidecar.Limits{}) {
		o.limits = sidecar.DefaultLimits()
	}
	db, err := bolt.Open(bolt.Options{Path: o.path})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, path: o.path, store: &countingStore{Store: db}, known: map[string][]string{}}
	w.source = sidecar.New(sidecar.Options{
		Logger: slog.New(slog.DiscardHandler), Store: w.store, Limits: o.limits, Grace: o.grace,
		Metrics: prometheus.NewRegistry(),
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterRegistrationServer(g, w.source)
	w.conn, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	meshCtx, cancelMesh := context.WithCancel(t.Context())
	updates := make(chan source.Update)
	var running, mesh sync.WaitGroup
	running.Go(func() { _ = g.Serve(l) })
	running.Go(func() {
		if err := w.source.Run(ctx, updates); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	mesh.Go(func() { w.mesh(meshCtx, updates) })
	w.stop = sync.OnceFunc(func() {
		w.conn.Close()
		w.source.CloseStreams()
		g.Stop()
		cancel()
		running.Wait()
		cancelMesh()
		mesh.Wait()
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// mesh takes updates as the mesh does.
func (w *world) mesh(ctx context.Context, updates <-chan source.Update) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-updates:
			w.take(u)
		}
	}
}

func (w *world) take(u source.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Synced {
		w.synced = true
		return
	}
	delete(w.known, u.Key)
	for _, i := range u.Content.Instances {
		w.known[u.Key] = append(w.known[u.Key], i.Address)
	}
	switch {
	case u.Done == nil:
	case w.hold:
		w.held = append(w.held, u.Done)
	default:
		u.Done()
	}
}

// addresses is what the mesh knows of node n1.
func (w *world) addresses() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known["default/n1"]
}

func (w *world) wantAddresses(want ...string) {
	w.t.Helper()
	if got := w.addresses(); !slices.Equal(got, want) {
		w.t.Fatalf("node n1 has %v, want %v", got, want)
	}
}

// waitGone waits until the mesh knows nothing of node n1 and says how long
// that took.
func (w *world) waitGone() time.Duration {
	w.t.Helper()
	since := time.Now()
	eventually(w.t, "node n1 is forgotten", func() bool { return len(w.addresses()) == 0 })
	return time.Since(since)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// client is one registration stream.
type client struct {
	t      *testing.T
	stream pb.Registration_RegisterClient
	cancel context.CancelFunc
}

func (w *world) dial() *client {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*patience)
	w.t.Cleanup(cancel)
	stream, err := pb.NewRegistrationClient(w.conn).Register(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{t: w.t, stream: stream, cancel: cancel}
}

// join opens a stream and says hello, with a TTL of a second.
func (w *world) join(node string, epoch int64) *client {
	w.t.Helper()
	c := w.dial()
	c.hello(&pb.Hello{Network: "default", Node: node, TtlSeconds: 1, Agent: "test/1", Epoch: epoch})
	return c
}

func (c *client) hello(h *pb.Hello) {
	c.t.Helper()
	c.send(&pb.RegisterRequest{Message: &pb.RegisterRequest_Hello{Hello: h}})
}

func (c *client) send(r *pb.RegisterRequest) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) register(version uint64, instances ...*pb.Instance) {
	c.t.Helper()
	c.send(&pb.RegisterRequest{Message: &pb.RegisterRequest_Instances{
		Instances: &pb.Instances{Version: version, Instances: instances},
	}})
}

func (c *client) accepted(version uint64) {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	if a := r.GetAccepted(); a == nil || a.GetVersion() != version {
		c.t.Fatalf("got %v, want version %d accepted", r, version)
	}
}

func (c *client) refused(version uint64) []string {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	if f := r.GetRefused(); f == nil || f.GetVersion() != version {
		c.t.Fatalf("got %v, want version %d refused", r, version)
	}
	return r.GetRefused().GetErrors()
}

// ended wants that the server ends the stream, and how.
func (c *client) ended(code codes.Code, text string) {
	c.t.Helper()
	r, err := c.stream.Recv()
	if status.Code(err) != code || err != nil && !strings.Contains(err.Error(), text) {
		c.t.Fatalf("got %v, %v; want the stream ended with %v and %q", r, err, code, text)
	}
}

func instance(service, address string) *pb.Instance {
	return &pb.Instance{Service: service, PortName: "http", Address: address}
}
