package mesh

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry"
)

func FuzzDecode(f *testing.F) {
	seed, err := proto.Marshal(&endpointv3.ClusterLoadAssignment{
		ClusterName: "users.default:80",
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{},
		}}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("users.default:80", seed)
	f.Add("blackhole", []byte{})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		instances, err := decode(name, &anypb.Any{TypeUrl: ads.EndpointType, Value: b})
		if err != nil {
			return
		}
		for _, i := range instances {
			if err := registry.CheckHostPort(i.Address, false); err != nil {
				t.Errorf("took an address: %v", err)
			}
		}
	})
}
