package xds_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

// patience bounds every wait.
const patience = 20 * time.Second

// build builds the control plane once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "controlplane")
	if err != nil {
		return "", err
	}
	built = dir
	binary := filepath.Join(dir, "controlplane")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/outrigger-mesh/outrigger/controlplane").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

// built is the folder of what build has made, if it was called.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// process is a running control plane.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	xds  string // bound addresses
	api  string
	log  *strings.Builder
	done chan struct{} // closed when the log has ended
}

const config = `
listen: {xds: 127.0.0.1:0, api: 127.0.0.1:0}
store: {bolt: {path: state/outrigger.db}}
registration: {grace: 1s}
`

// start starts the control plane in a folder, on the ports that are free.
func start(t *testing.T, dir string) *process {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "controlplane.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), binary, "run", "-c", path), log: &strings.Builder{}, done: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	serving := make(chan [2]string, 1)
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(p.log, lines.Text())
			var line struct{ Msg, XDS, API string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				serving <- [2]string{line.XDS, line.API}
			}
		}
	}()
	select {
	case bound := <-serving:
		p.xds, p.api = bound[0], bound[1]
	case <-p.done:
		t.Fatalf("the control plane ended:\n%s", p.log)
	case <-time.After(patience):
		t.Fatal("the control plane does not serve")
	}
	return p
}

// kill ends it without a chance to do anything.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.cmd.Wait()
}

// terminate asks it to end and returns its exit code.
func (p *process) terminate() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the control plane does not end")
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) dial() *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpc.NewClient(p.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

// register registers an instance of orders and returns its stream.
func (p *process) register(node, address string) pb.Registration_RegisterClient {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	p.t.Cleanup(cancel)
	stream, err := pb.NewRegistrationClient(p.dial()).Register(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range []*pb.RegisterRequest{
		{Message: &pb.RegisterRequest_Hello{Hello: &pb.Hello{Network: "default", Node: node, TtlSeconds: 1, Epoch: 1}}},
		{Message: &pb.RegisterRequest_Instances{Instances: &pb.Instances{Version: 1, Instances: []*pb.Instance{
			{Service: "orders", PortName: "http", Address: address},
		}}}},
	} {
		if err := stream.Send(m); err != nil {
			p.t.Fatal(err)
		}
	}
	r, err := stream.Recv()
	if err != nil || r.GetAccepted() == nil {
		p.t.Fatalf("got %v, %v; want the registration accepted", r, err)
	}
	return stream
}

// watch is a delta stream that is subscribed to the endpoints of orders.
type watch struct {
	t      *testing.T
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (p *process) watch() *watch {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(p.dial()).DeltaAggregatedResources(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	w := &watch{t: p.t, stream: stream}
	w.send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "watcher"}, TypeUrl: resourcev3.EndpointType, ResourceNamesSubscribe: []string{name},
	})
	return w
}

func (w *watch) send(r *discoveryv3.DeltaDiscoveryRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

// next is the addresses of the next response, which is acknowledged; nil if it
// says that there is no such service.
func (w *watch) next() []string {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
	if len(r.GetRemovedResources()) > 0 {
		return nil
	}
	addresses := []string{}
	for _, res := range r.GetResources() {
		var a endpointv3.ClusterLoadAssignment
		if err := res.GetResource().UnmarshalTo(&a); err != nil {
			w.t.Fatal(err)
		}
		for _, l := range a.GetEndpoints() {
			for _, e := range l.GetLbEndpoints() {
				s := e.GetEndpoint().GetAddress().GetSocketAddress()
				addresses = append(addresses, fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue()))
			}
		}
	}
	slices.Sort(addresses)
	return addresses
}

func (w *watch) want(addresses ...string) {
	w.t.Helper()
	if got := w.next(); !slices.Equal(got, addresses) {
		w.t.Fatalf("the endpoints are %v, want %v", got, addresses)
	}
}

const name = "orders.default:80"

func TestEndpointsSurviveAKillAndGoWhenNobodyComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	before := p.watch()
	if got := before.next(); got != nil {
		t.Fatalf("the endpoints are %v before anybody registered, want no such service", got)
	}
	p.register("n1", "127.0.0.1:9001")
	before.want("127.0.0.1:9001")
	p.kill()

	p = start(t, dir)
	since := time.Now()
	after := p.watch()
	after.want("127.0.0.1:9001") // the first answer has it
	if got := after.next(); len(got) != 0 || got == nil {
		t.Fatalf("the endpoints are %v, want none of a service that is known", got)
	}
	if took := time.Since(since); took < 1500*time.Millisecond {
		t.Errorf("the endpoint went after %s, before its TTL of 1s and the grace of 1s", took)
	}
}

func TestEndpointsNeverShrinkOverAKillWhenSidecarsComeBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	p.register("n1", "127.0.0.1:9001")
	p.register("n2", "127.0.0.1:9002")
	p.kill()

	p = start(t, dir)
	w := p.watch()
	w.want("127.0.0.1:9001", "127.0.0.1:9002")
	p.register("n1", "127.0.0.1:9001")
	p.register("n2", "127.0.0.1:9002")
	p.register("n3", "127.0.0.1:9003")
	// The next news is the new one: what came back changed nothing.
	w.want("127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003")
}

func TestTerminationIsCleanAndKeepsTheLeases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	stream := p.register("n1", "127.0.0.1:9001")
	w := p.watch()
	w.want("127.0.0.1:9001")
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d, want 0; log:\n%s", code, p.log)
	}
	if _, err := w.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the xDS stream ended with %v, want %v", err, codes.Unavailable)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the registration stream ended with %v, want %v", err, codes.Unavailable)
	}
	start(t, dir).watch().want("127.0.0.1:9001")
}

func TestASecondControlPlaneOnTheSameStoreIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir)
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "run", "-c", filepath.Join(dir, "controlplane.yaml")).CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit code 1", err)
	}
	if want := "is another control plane running?"; !strings.Contains(string(out), want) || !strings.Contains(string(out), "outrigger.db") {
		t.Errorf("it says %q, want the file and %q", out, want)
	}
}

func TestAFileThatChangesIsServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(address string) {
		t.Helper()
		err := os.WriteFile(filepath.Join(objects, "orders.yaml"), []byte(`
apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: orders}
spec:
  ports: [{name: http, port: 80}]
  endpoints: [{address: "`+address+`"}]
`), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	write("127.0.0.1:9001")
	w := start(t, dir).watch()
	w.want("127.0.0.1:9001")
	write("127.0.0.1:19002")
	w.want("127.0.0.1:19002")
}
