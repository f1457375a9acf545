package xds_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
)

// call makes a request to the API and returns the answer's body.
func (p *process) call(method, path, body string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.api+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %s: %s: %s (%v)", method, path, resp.Status, text, err)
	}
	return string(text)
}

// host is a Host object.
func host(name, zone, status string) string {
	return fmt.Sprintf(`{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"Host","metadata":{"name":"cmdb-%s"},`+
		`"spec":{"key":"key-%s","name":%q,"locality":{"region":"bj","zone":%q},"status":%q,"labels":{"owner":"shop"}}}`, name, name, name, zone, status)
}

func (p *process) applyHosts(hosts ...string) {
	p.t.Helper()
	p.call("POST", "/v1/hosts:apply", `{"run":"test","put":[`+strings.Join(hosts, ",")+`]}`)
}

// registerOn registers an instance of orders that says to run on a host.
func (p *process) registerOn(node, address, host string) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	p.t.Cleanup(cancel)
	stream, err := pb.NewRegistrationClient(p.dial()).Register(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range []*pb.RegisterRequest{
		{Message: &pb.RegisterRequest_Hello{Hello: &pb.Hello{Network: "default", Node: node, TtlSeconds: 30, Epoch: 1}}},
		{Message: &pb.RegisterRequest_Instances{Instances: &pb.Instances{Version: 1, Instances: []*pb.Instance{
			{Service: "orders", PortName: "http", Address: address, Host: host, Region: "registered", Zone: "registered"},
		}}}},
	} {
		if err := stream.Send(m); err != nil {
			p.t.Fatal(err)
		}
	}
	if r, err := stream.Recv(); err != nil || r.GetAccepted() == nil {
		p.t.Fatalf("got %v, %v; want the registration accepted", r, err)
	}
}

// watchFrom is a watch of a client that says to be on a host and in a zone.
func (p *process) watchFrom(host, zone string) *watch {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	p.t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(p.dial()).DeltaAggregatedResources(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	w := &watch{t: p.t, stream: stream}
	w.send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{
			Id: "watcher", Locality: &corev3.Locality{Region: "bj", Zone: zone},
			Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"host": structpb.NewStringValue(host)}},
		},
		TypeUrl: resourcev3.EndpointType, ResourceNamesSubscribe: []string{name},
	})
	return w
}

// until reads responses until the endpoints are these, each
// priority region/zone port STATUS.
func (w *watch) until(want ...string) {
	w.t.Helper()
	text := strings.Join(want, ", ")
	last := "nothing"
	for {
		r, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("the endpoints are %s, want %s: %v", last, text, err)
		}
		w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
		var got []string
		for _, res := range r.GetResources() {
			var a endpointv3.ClusterLoadAssignment
			if err := res.GetResource().UnmarshalTo(&a); err != nil {
				w.t.Fatal(err)
			}
			for _, l := range a.GetEndpoints() {
				for _, e := range l.GetLbEndpoints() {
					got = append(got, fmt.Sprintf("%d %s/%s %d %s", l.GetPriority(), l.GetLocality().GetRegion(), l.GetLocality().GetZone(),
						e.GetEndpoint().GetAddress().GetSocketAddress().GetPortValue(), e.GetHealthStatus()))
				}
			}
		}
		if last = strings.Join(got, ", "); last == text {
			return
		}
	}
}

func TestAHostGivesItsEndpointsLocalityAndStatus(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	p.registerOn("n1", "127.0.0.1:9001", "VM-1")
	p.registerOn("n2", "127.0.0.1:9002", "key-vm-2")
	w := p.watchFrom("", "bj-2")
	w.until("0 registered/registered 9001 HEALTHY", "0 registered/registered 9002 HEALTHY")
	p.applyHosts(host("vm-1", "bj-1", "up"), host("vm-2", "bj-2", "up"))
	w.until("0 bj/bj-2 9002 HEALTHY", "1 bj/bj-1 9001 HEALTHY") // its own zone first
	p.applyHosts(host("vm-2", "bj-2", "draining"))
	w.until("0 bj/bj-2 9002 DRAINING", "1 bj/bj-1 9001 HEALTHY")
	p.applyHosts(host("vm-2", "bj-2", "up"))
	w.until("0 bj/bj-2 9002 HEALTHY", "1 bj/bj-1 9001 HEALTHY")
	p.applyHosts(host("vm-2", "bj-2", "down"))
	w.until("0 bj/bj-2 9002 UNHEALTHY", "1 bj/bj-1 9001 HEALTHY")
	p.call("DELETE", "/v1/hosts/cmdb-vm-2", "")
	w.until("0 bj/bj-1 9001 HEALTHY", "1 registered/registered 9002 HEALTHY")

	var endpoints struct {
		Endpoints []struct {
			Address, LocalitySource string
			Machine                 struct{ Object, JoinedBy string }
			Metadata                map[string]string
		}
	}
	if err := json.Unmarshal([]byte(p.call("GET", "/v1/endpoints", "")), &endpoints); err != nil {
		t.Fatal(err)
	}
	first := endpoints.Endpoints[0]
	if first.LocalitySource != "host" || first.Machine.Object != "cmdb-vm-1" || first.Machine.JoinedBy != "name" || first.Metadata["cmdb/owner"] != "shop" {
		t.Errorf("the first endpoint is shown as %+v", first)
	}
	if second := endpoints.Endpoints[1]; second.LocalitySource != "sidecar" || second.Machine.Object != "" {
		t.Errorf("the second endpoint is shown as %+v", second)
	}
}

func TestAClientsHostBeatsWhereItSaysToBe(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	p.registerOn("n1", "127.0.0.1:9001", "vm-1")
	p.registerOn("n2", "127.0.0.1:9002", "vm-2")
	p.applyHosts(host("vm-1", "bj-1", "up"), host("vm-2", "bj-2", "up"), host("caller", "bj-1", "up"))
	w := p.watchFrom("caller", "bj-2")
	w.until("0 bj/bj-1 9001 HEALTHY", "1 bj/bj-2 9002 HEALTHY")
	p.applyHosts(host("caller", "bj-2", "up")) // it is moved
	w.until("0 bj/bj-2 9002 HEALTHY", "1 bj/bj-1 9001 HEALTHY")
}

func TestObjectsAndRevisionsSurviveAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	p.registerOn("n1", "127.0.0.1:9001", "vm-1")
	p.applyHosts(host("vm-1", "bj-1", "up"))
	p.applyHosts(host("vm-1", "bj-1", "draining"))
	p.call("POST", "/v1/meshservices:apply", `{"put":[{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"MeshService",`+
		`"metadata":{"name":"legacy"},"spec":{"ports":[{"name":"http","port":80}],"endpoints":[{"address":"10.0.0.1:80"}]}}]}`)
	hosts, services := p.call("GET", "/v1/hosts", ""), p.call("GET", "/v1/meshservices", "")
	p.kill()

	p = start(t, dir)
	w := p.watchFrom("", "")
	if got := p.call("GET", "/v1/hosts", ""); got != hosts {
		t.Errorf("the hosts are %s, were %s", got, hosts)
	}
	if got := p.call("GET", "/v1/meshservices", ""); got != services {
		t.Errorf("the services are %s, were %s", got, services)
	}
	// The first answer has what the host says.
	r, err := w.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var a endpointv3.ClusterLoadAssignment
	if err := r.GetResources()[0].GetResource().UnmarshalTo(&a); err != nil {
		t.Fatal(err)
	}
	if l := a.GetEndpoints()[0]; l.GetLocality().GetZone() != "bj-1" || l.GetLbEndpoints()[0].GetHealthStatus() != corev3.HealthStatus_DRAINING {
		t.Errorf("the first answer is %v", &a)
	}
	if got := p.call("GET", "/v1/services", ""); !strings.Contains(got, `"name":"legacy"`) {
		t.Errorf("the stored service is not known: %s", got)
	}
	if got := p.call("POST", "/v1/hosts:apply", `{"base":"2","delete":["cmdb-vm-1"]}`); !strings.Contains(got, `"revision":"3"`) {
		t.Errorf("the next revision is %s, want 3", got)
	}
}

// One apply is one change to clients: they never see half of it.
func TestHostsOfOneApplyAreServedTogether(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	const n = 50
	for i := range n {
		p.registerOn(fmt.Sprintf("n%02d", i), fmt.Sprintf("127.0.0.1:%d", 9000+i), fmt.Sprintf("vm-%02d", i))
	}
	put := func(zone string) {
		hosts := make([]string, n)
		for i := range hosts {
			hosts[i] = host(fmt.Sprintf("vm-%02d", i), zone, "up")
		}
		p.applyHosts(hosts...)
	}
	put("z0")
	w := p.watchFrom("", "")
	deadline := time.Now().Add(patience)
	for round, seen := 1, ""; round <= 5; {
		r, err := w.stream.Recv()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("round %d: %v", round, err)
		}
		w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
		var a endpointv3.ClusterLoadAssignment
		if err := r.GetResources()[0].GetResource().UnmarshalTo(&a); err != nil {
			t.Fatal(err)
		}
		zones := map[string]bool{}
		for _, l := range a.GetEndpoints() {
			zones[l.GetLocality().GetZone()] = true
		}
		if len(zones) > 1 && seen != "" {
			t.Fatalf("endpoints of one apply are in the zones %v", zones)
		}
		if zones["registered"] {
			continue // the hosts were not there yet
		}
		seen = a.GetEndpoints()[0].GetLocality().GetZone()
		put(fmt.Sprintf("z%d", round))
		round++
	}
}
