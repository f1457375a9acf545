package sidecar

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
	"github.com/outrigger-mesh/outrigger/registry"
)

var nodeKey = store.NodeKey{Network: "default", Node: "vm-17"}

func TestConvertFillsInWhatIsLeftOut(t *testing.T) {
	in := &pb.Instances{Instances: []*pb.Instance{{Service: "orders", PortName: "http", Address: "10.0.3.7:15006"}}}
	got, errs := DefaultLimits().convert(nodeKey, 5, in, false)
	if errs != nil {
		t.Fatalf("refused: %v", errs)
	}
	want := []source.Instance{{Epoch: 5, Instance: registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network: "default", Node: "vm-17", PortName: "http",
			Service: registry.ServiceName{Namespace: "default", Name: "orders"},
		},
		Address: "10.0.3.7:15006", Weight: 1, Status: registry.StatusUp,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		name, address string
		loopbackPeer  bool
		wrong         string // empty: it is right
	}{
		{"IPv4", "10.0.3.7:80", false, ""},
		{"IPv6", "[2001:db8::1]:80", false, ""},
		{"loopback from this machine", "127.0.0.1:80", true, ""},
		{"loopback from another machine", "127.0.0.1:80", false, "loopback"},
		{"IPv6 loopback from another machine", "[::1]:80", false, "loopback"},
		{"mapped loopback from another machine", "[::ffff:127.0.0.1]:80", false, "loopback"},
		{"unspecified", "0.0.0.0:80", true, "unspecified"},
		{"unspecified IPv6", "[::]:80", true, "unspecified"},
		{"a name", "vm-17:80", true, "not an IP address"},
		{"no port", "10.0.3.7", true, "has no port"},
		{"port zero", "10.0.3.7:0", true, "not a port"},
		{"a zone", "[fe80::1%eth0]:80", true, "has a zone"},
		{"multicast", "224.0.0.1:80", true, "multicast"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := checkAddress(tt.address, tt.loopbackPeer)
			switch {
			case tt.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("got %v, want an error that says %q", err, tt.wrong)
			}
		})
	}
}

func TestLimitsHold(t *testing.T) {
	fill := func(in *pb.Instance) *pb.Instance {
		in.Service, in.PortName, in.Address = "orders", "http", "10.0.3.7:80"
		return in
	}
	many := &pb.Instances{}
	for range 65 {
		many.Instances = append(many.Instances, fill(&pb.Instance{}))
	}
	keys := map[string]string{}
	for i := range 65 {
		keys[strings.Repeat("k", i+1)] = ""
	}
	one := func(in *pb.Instance) *pb.Instances { return &pb.Instances{Instances: []*pb.Instance{fill(in)}} }
	tests := []struct {
		name string
		in   *pb.Instances
		want string
	}{
		{"instances", many, "65 instances are more than the 64 that one node may have"},
		{"metadata keys", one(&pb.Instance{Metadata: keys}), "instances[0] (default/orders http): metadata has 65 keys, more than 64"},
		{"metadata bytes", one(&pb.Instance{Metadata: map[string]string{"k": strings.Repeat("v", 16<<10)}}), "instances[0] (default/orders http): metadata has 16385 bytes, more than 16384"},
		{"text", one(&pb.Instance{Zone: strings.Repeat("z", 254)}), "instances[0] (default/orders http): zone is longer than 253 bytes"},
		{"control characters", one(&pb.Instance{Version: "v1\n"}), `instances[0] (default/orders http): version "v1\n" has a control character`},
		{"weight", one(&pb.Instance{Weight: 1 << 17}), "instances[0] (default/orders http): weight 131072 is more than 65536"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := DefaultLimits().convert(nodeKey, 1, tt.in, false)
			if diff := cmp.Diff([]string{tt.want}, errs); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATTLIsBroughtWithinItsBounds(t *testing.T) {
	l := DefaultLimits()
	for seconds, want := range map[uint32]string{0: "15s", 1: "1s", 60: "1m0s", 4_000_000_000: "10m0s"} {
		if got := l.ttl(seconds).String(); got != want {
			t.Errorf("a TTL of %d seconds becomes %s, want %s", seconds, got, want)
		}
	}
}
