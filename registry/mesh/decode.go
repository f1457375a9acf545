package mesh

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/registry"
)

// metadataKey is where the control plane puts what xDS has no field for.
const metadataKey = "outrigger"

// decode reads the endpoints of a service's port that take requests.
func decode(name string, body *anypb.Any) ([]registry.Instance, error) {
	service, _, err := registry.ParsePortName(name)
	if err != nil {
		return nil, err
	}
	var a endpointv3.ClusterLoadAssignment
	if err := body.UnmarshalTo(&a); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var out []registry.Instance
	var errs []error
	for i, l := range a.GetEndpoints() {
		loc := l.GetLocality()
		for j, e := range l.GetLbEndpoints() {
			switch e.GetHealthStatus() {
			case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
			default:
				continue
			}
			addr := e.GetEndpoint().GetAddress().GetSocketAddress()
			address := net.JoinHostPort(addr.GetAddress(), strconv.FormatUint(uint64(addr.GetPortValue()), 10))
			if err := registry.CheckHostPort(address, false); err != nil {
				errs = append(errs, fmt.Errorf("endpoints[%d].lb_endpoints[%d]: address: %w", i, j, err))
				continue
			}
			in := instance(service, address, e.GetMetadata().GetFilterMetadata()[metadataKey])
			in.Locality = registry.Locality{Region: loc.GetRegion(), Zone: loc.GetZone(), Subzone: loc.GetSubZone()}
			in.Weight = e.GetLoadBalancingWeight().GetValue()
			in.Status = registry.StatusUp
			out = append(out, in)
		}
	}
	return out, errors.Join(errs...)
}

// instance reads the metadata of an endpoint. Another control plane's
// endpoints have none, and are known by their address.
func instance(service registry.ServiceName, address string, s *structpb.Struct) registry.Instance {
	f := s.GetFields()
	text := func(key, fallback string) string {
		if v := f[key].GetStringValue(); v != "" {
			return v
		}
		return fallback
	}
	in := registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network:  text("network", registry.DefaultNetwork),
			Node:     text("node", address),
			Service:  service,
			PortName: text("portName", "http"),
		},
		Address:  address,
		Protocol: registry.Protocol(text("protocol", "")),
		Version:  text("version", ""),
		Host:     text("host", ""),
	}
	if n := f["portNumber"].GetNumberValue(); n > 0 && n <= 1<<16-1 {
		in.PortNumber = uint16(n)
	}
	if own := f["metadata"].GetStructValue().GetFields(); len(own) > 0 {
		in.Metadata = make(map[string]string, len(own))
		for k, v := range own {
			in.Metadata[k] = v.GetStringValue()
		}
	}
	return in
}
