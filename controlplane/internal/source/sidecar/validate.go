package sidecar

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
	"github.com/outrigger-mesh/outrigger/registry"
)

// checkHello says everything that is wrong with a Hello.
func (l Limits) checkHello(h *pb.Hello) []string {
	var errs []string
	if err := l.checkID(h.GetNetwork()); err != nil {
		errs = append(errs, "network "+err.Error())
	}
	if err := l.checkID(h.GetNode()); err != nil {
		errs = append(errs, "node "+err.Error())
	}
	if h.GetEpoch() < 0 {
		errs = append(errs, fmt.Sprintf("epoch %d is negative", h.GetEpoch()))
	}
	if err := l.checkText(h.GetAgent()); err != nil {
		errs = append(errs, "agent "+err.Error())
	}
	return errs
}

// checkID checks a network or node id: what operators may call a machine, and
// nothing that could be taken for a separator.
func (l Limits) checkID(s string) error {
	if s == "" {
		return fmt.Errorf("must not be empty")
	}
	if err := l.checkText(s); err != nil {
		return err
	}
	if i := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.@", r))
	}); i >= 0 {
		return fmt.Errorf("%q has a character other than letters, digits and -_.@", s)
	}
	return nil
}

func (l Limits) checkText(s string) error {
	switch {
	case len(s) > l.FieldBytes:
		return fmt.Errorf("is longer than %d bytes", l.FieldBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%q has a control character", s)
	}
	return nil
}

// ttl is the lease that a node gets for the one that it asked for.
func (l Limits) ttl(seconds uint32) time.Duration {
	if seconds == 0 {
		return DefaultTTL
	}
	return min(max(time.Duration(seconds)*time.Second, l.MinTTL), l.MaxTTL)
}

// convert makes the node's instances of a message, or says everything that is
// wrong with it. loopbackPeer tells whether the message came from this
// machine: only then a loopback address in it means anything.
func (l Limits) convert(key store.NodeKey, epoch int64, m *pb.Instances, loopbackPeer bool) ([]source.Instance, []string) {
	var errs []string
	if n := len(m.GetInstances()); n > l.Instances {
		return nil, []string{fmt.Sprintf("%d instances are more than the %d that one node may have", n, l.Instances)}
	}
	instances := make([]source.Instance, 0, len(m.GetInstances()))
	seen := map[registry.InstanceKey]int{}
	for n, in := range m.GetInstances() {
		inst, problems := l.instance(key, in, loopbackPeer)
		place := fmt.Sprintf("instances[%d] (%s %s): ", n, inst.Service, inst.PortName)
		if first, ok := seen[inst.InstanceKey]; ok {
			problems = append(problems, fmt.Sprintf("is the same service and port as instances[%d]", first))
		}
		seen[inst.InstanceKey] = n
		for _, p := range problems {
			errs = append(errs, place+p)
		}
		instances = append(instances, source.Instance{Instance: inst, Epoch: epoch})
	}
	if len(errs) > 0 {
		return nil, errs
	}
	slices.SortFunc(instances, func(a, b source.Instance) int { return a.InstanceKey.Compare(b.InstanceKey) })
	return instances, nil
}

func (l Limits) instance(key store.NodeKey, in *pb.Instance, loopbackPeer bool) (registry.Instance, []string) {
	inst := registry.Instance{
		InstanceKey: registry.InstanceKey{
			Network: key.Network, Node: key.Node,
			Service:  registry.ServiceName{Namespace: in.GetNamespace(), Name: in.GetService()},
			PortName: in.GetPortName(),
		},
		Address: in.GetAddress(), Protocol: registry.Protocol(in.GetProtocol()),
		Version: in.GetVersion(), Weight: max(in.GetWeight(), 1), Host: in.GetHost(),
		Locality: registry.Locality{Region: in.GetRegion(), Zone: in.GetZone(), Subzone: in.GetSubzone()},
		Status:   registry.Status(in.GetStatus()),
	}
	if inst.Service.Namespace == "" {
		inst.Service.Namespace = registry.DefaultNamespace
	}
	if inst.Status == "" {
		inst.Status = registry.StatusUp
	}
	if len(in.GetMetadata()) > 0 {
		inst.Metadata = maps.Clone(in.GetMetadata())
	}
	var errs []string
	add := func(field string, err error) {
		if err != nil {
			errs = append(errs, field+" "+err.Error())
		}
	}
	add("namespace", registry.CheckName(inst.Service.Namespace))
	add("service", registry.CheckName(inst.Service.Name))
	add("port_name", registry.CheckName(inst.PortName))
	add("address", checkAddress(inst.Address, loopbackPeer))
	if n := in.GetPortNumber(); n > 65535 {
		add("port_number", fmt.Errorf("%d is more than 65535", n))
	} else {
		inst.PortNumber = uint16(n)
	}
	if !inst.Protocol.Valid() {
		add("protocol", fmt.Errorf("%q is none of http, http2, grpc and tcp", inst.Protocol))
	}
	if inst.Status != registry.StatusUp && inst.Status != registry.StatusDraining {
		add("status", fmt.Errorf("%q is neither up nor draining", inst.Status))
	}
	if inst.Weight > l.Weight {
		add("weight", fmt.Errorf("%d is more than %d", inst.Weight, l.Weight))
	}
	add("version", l.checkText(inst.Version))
	add("host", l.checkText(inst.Host))
	add("region", l.checkText(inst.Locality.Region))
	add("zone", l.checkText(inst.Locality.Zone))
	add("subzone", l.checkText(inst.Locality.Subzone))
	add("metadata", l.checkMetadata(inst.Metadata))
	return inst, errs
}

func (l Limits) checkMetadata(m map[string]string) error {
	if len(m) > l.MetadataKeys {
		return fmt.Errorf("has %d keys, more than %d", len(m), l.MetadataKeys)
	}
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	if size > l.MetadataBytes {
		return fmt.Errorf("has %d bytes, more than %d", size, l.MetadataBytes)
	}
	return nil
}

// checkAddress checks what an instance is to be reached at. Nothing is
// resolved: xDS endpoints are addresses, so a name is refused.
func checkAddress(s string, loopbackPeer bool) error {
	if err := registry.CheckHostPort(s, false); err != nil {
		return err
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an IP address with a port: an instance registers the address that it is reached at, not a name", s)
	}
	ip := ap.Addr().Unmap()
	switch {
	case ip.Zone() != "":
		return fmt.Errorf("%q has a zone, which means nothing on another machine", s)
	case ip.IsUnspecified():
		return fmt.Errorf("%q is unspecified: nobody can be reached there; advertise the machine's own address", s)
	case ip.IsMulticast():
		return fmt.Errorf("%q is a multicast address", s)
	case ip.IsLoopback() && !loopbackPeer:
		return fmt.Errorf("%q is a loopback address, and the control plane is on another machine; advertise the machine's own address", s)
	}
	return nil
}
