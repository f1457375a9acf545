package sidecar_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/sidecar"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAcceptedMeansStoredAndServed(t *testing.T) {
	w := start(t, options{})
	w.hold = true
	c := w.join("n1", 1)
	c.register(7, instance("orders", "127.0.0.1:9001"))
	var held []func()
	eventually(t, "the mesh has the update", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		held = w.held
		return len(held) == 1
	})
	nodes, err := w.store.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || len(nodes[0].Instances) != 1 {
		t.Fatalf("the store has %+v (%v) before the answer, want the instance", nodes, err)
	}
	answered := make(chan *pb.RegisterResponse, 1)
	go func() {
		r, err := c.stream.Recv()
		if err == nil {
			answered <- r
		}
	}()
	select {
	case r := <-answered:
		t.Fatalf("answered %v before the mesh served it", r)
	default:
	}
	held[0]()
	select {
	case r := <-answered:
		if r.GetAccepted().GetVersion() != 7 {
			t.Fatalf("got %v, want version 7 accepted", r)
		}
	case <-time.After(patience):
		t.Fatal("not answered though it is served")
	}
}

func TestWhatIsMissingFromAMessageIsDeregisteredAtOnce(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"), instance("users", "127.0.0.1:9002"))
	c.accepted(1)
	w.wantAddresses("127.0.0.1:9001", "127.0.0.1:9002")
	c.register(2, instance("users", "127.0.0.1:9002"))
	c.accepted(2)
	w.wantAddresses("127.0.0.1:9002")
	c.register(3)
	c.accepted(3)
	w.wantAddresses()
}

func TestABrokenStreamsInstancesStayForOneTTL(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	c.cancel()
	if took := w.waitGone(); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("the lease ran out after %s, want about its TTL of 1s", took)
	}
	eventually(t, "the store has forgotten the node", func() bool {
		nodes, err := w.store.Nodes(t.Context())
		return err == nil && len(nodes) == 0
	})
}

func TestAReconnectKeepsTheLeaseAndWritesNothing(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	c.cancel()
	changes := w.store.changes.Load()

	again := w.join("n1", 1)
	again.register(1, instance("orders", "127.0.0.1:9001"))
	again.accepted(1)
	if n := w.store.changes.Load() - changes; n != 0 {
		t.Errorf("the reconnect wrote %d changes to the store, want none", n)
	}
	// Past the first stream's TTL the node is still there.
	for deadline := time.Now().Add(1500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		w.wantAddresses("127.0.0.1:9001")
	}
}

func TestALaterStreamOfTheSameProcessReplacesTheEarlier(t *testing.T) {
	w := start(t, options{})
	half := w.join("n1", 1)
	half.register(1, instance("orders", "127.0.0.1:9001"))
	half.accepted(1)
	c := w.join("n1", 1)
	half.ended(codes.Aborted, "newer stream")
	c.register(2, instance("orders", "127.0.0.1:9002"))
	c.accepted(2)
	w.wantAddresses("127.0.0.1:9002")
}

func TestAnEarlierProcessNeverOverrulesALaterOne(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 20)
	c.register(1, instance("orders", "127.0.0.1:9002"))
	c.accepted(1)
	w.join("n1", 10).ended(codes.FailedPrecondition, "a later process (epoch 20)")
	w.wantAddresses("127.0.0.1:9002")
	c.register(2, instance("orders", "127.0.0.1:9003"))
	c.accepted(2)

	// Also once the later one is away, and over the control plane's restart.
	c.cancel()
	w.stop()
	w = start(t, options{path: w.path, grace: patience})
	w.join("n1", 10).ended(codes.FailedPrecondition, "a later process (epoch 20)")
	w.wantAddresses("127.0.0.1:9003")
}

func TestAnEarlierProcessesInstancesStayUntilTheLaterOneSpeaks(t *testing.T) {
	w := start(t, options{})
	old := w.join("n1", 1)
	old.register(1, instance("orders", "127.0.0.1:9001"))
	old.accepted(1)
	c := w.join("n1", 2)
	old.ended(codes.Aborted, "newer stream")
	w.wantAddresses("127.0.0.1:9001")
	c.register(1, instance("orders", "127.0.0.1:9002"))
	c.accepted(1)
	w.wantAddresses("127.0.0.1:9002")
}

func TestInstancesOfADeadProcessEndThoughItsSuccessorIsSilent(t *testing.T) {
	w := start(t, options{})
	old := w.join("n1", 1)
	old.register(1, instance("orders", "127.0.0.1:9001"))
	old.accepted(1)
	old.cancel()
	c := w.join("n1", 2)
	w.waitGone()
	c.register(1, instance("orders", "127.0.0.1:9002"))
	c.accepted(1)
	w.wantAddresses("127.0.0.1:9002")
}

func TestAfterARestartKnownInstancesStayForTTLAndGrace(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	w.stop()

	w = start(t, options{path: w.path, grace: time.Second})
	eventually(t, "the source has synced", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.synced })
	w.wantAddresses("127.0.0.1:9001")
	if took := w.waitGone(); took < 1900*time.Millisecond || took > 5*time.Second {
		t.Errorf("the node stayed for %s, want about its TTL and the grace, 2s", took)
	}
}

func TestANodeThatReconnectsAfterARestartStays(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	w.stop()

	w = start(t, options{path: w.path, grace: time.Millisecond})
	again := w.join("n1", 1)
	again.register(1, instance("orders", "127.0.0.1:9001"))
	again.accepted(1)
	for deadline := time.Now().Add(1500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		w.wantAddresses("127.0.0.1:9001")
	}
}

func TestARefusedMessageChangesNothingAndNamesEveryMistake(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	bad := instance("Orders", "0.0.0.0:9001")
	bad.Protocol, bad.Status, bad.PortNumber = "quic", "gone", 70000
	c.register(2, instance("users", "127.0.0.1:9002"), bad, instance("users", "127.0.0.1:9003"))
	want := []string{
		`instances[1] (default/Orders http): service "Orders" is not a DNS label (a-z, 0-9 and '-', a letter or digit at both ends)`,
		`instances[1] (default/Orders http): address "0.0.0.0:9001" is unspecified: nobody can be reached there; advertise the machine's own address`,
		`instances[1] (default/Orders http): port_number 70000 is more than 65535`,
		`instances[1] (default/Orders http): protocol "quic" is none of http, http2, grpc and tcp`,
		`instances[1] (default/Orders http): status "gone" is neither up nor draining`,
		`instances[2] (default/users http): is the same service and port as instances[0]`,
	}
	if diff := cmp.Diff(want, c.refused(2)); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	w.wantAddresses("127.0.0.1:9001")
	c.register(3, instance("orders", "127.0.0.1:9004"))
	c.accepted(3)
	w.wantAddresses("127.0.0.1:9004")
}

func TestOneNodeTooManyIsTurnedAway(t *testing.T) {
	limits := sidecar.DefaultLimits()
	limits.Nodes = 1
	w := start(t, options{limits: limits})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	w.join("n2", 1).ended(codes.ResourceExhausted, "1 nodes are registered")
	c.register(2)
	c.accepted(2)
}

func TestAWrongBeginningEndsTheStream(t *testing.T) {
	tests := []struct {
		name  string
		first *pb.RegisterRequest
		text  string
	}{
		{"instances before hello", &pb.RegisterRequest{Message: &pb.RegisterRequest_Instances{Instances: &pb.Instances{}}}, "the first message must be hello"},
		{"nothing in the message", &pb.RegisterRequest{}, "the first message must be hello"},
		{
			"a hello with mistakes",
			&pb.RegisterRequest{Message: &pb.RegisterRequest_Hello{Hello: &pb.Hello{Node: "a/b", Epoch: -1}}},
			`hello: network must not be empty; node "a/b" has a character other than letters, digits and -_.@; epoch -1 is negative`,
		},
	}
	w := start(t, options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.dial()
			c.t = t
			c.send(tt.first)
			c.ended(codes.InvalidArgument, tt.text)
		})
	}
}

func TestCloseStreamsEndsThemAndKeepsTheLeases(t *testing.T) {
	w := start(t, options{})
	c := w.join("n1", 1)
	c.register(1, instance("orders", "127.0.0.1:9001"))
	c.accepted(1)
	w.source.CloseStreams()
	c.ended(codes.Unavailable, "stopping")
	w.wantAddresses("127.0.0.1:9001")
}
