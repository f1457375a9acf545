package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// Upstream is a static service.
type Upstream struct {
	Endpoints      []Endpoint
	Protocol       registry.Protocol // http, http2 or grpc; empty: undeclared, what the client speaks
	ConnectTimeout time.Duration     // zero: the pool's own default
	TLS            *UpstreamTLS      `yaml:"tls"` // nil: plain text

	upstream.Settings
}

// SetDefaults is the defaults of an upstream's keys.
func (u *Upstream) SetDefaults() {
	u.Settings = upstream.DefaultSettings()
}

// Validate finds what is wrong with the upstream by itself.
func (u Upstream) Validate() error {
	var errs []error
	if len(u.Endpoints) == 0 {
		errs = append(errs, conf.FieldError("endpoints", "at least one endpoint is needed, such as endpoints: [127.0.0.1:9000]"))
	}
	first := map[string]int{}
	for i, e := range u.Endpoints {
		if e.Address == "" {
			continue // said by the endpoint itself
		}
		if j, ok := first[e.Address]; ok {
			errs = append(errs, conf.FieldErrorf(fmt.Sprintf("endpoints[%d]", i), "%s is endpoints[%d] already", e.Address, j))
			continue
		}
		first[e.Address] = i
	}
	if err := checkProtocol(u.Protocol); err != nil {
		errs = append(errs, conf.FieldError("protocol", err.Error()))
	}
	errs = append(errs, u.Balancer.CheckNames("balancer", balance.Options{}))
	return errors.Join(errs...)
}

// Endpoint is one address of an upstream, written as host:port or as a map.
type Endpoint struct {
	Address string // host:port
	Weight  uint32 // relative to the upstream's other endpoints
	Region  string
	Zone    string
}

// maxWeight keeps sums of weights far from overflow.
const maxWeight = 1_000_000

// SetDefaults is the defaults of an endpoint's keys.
func (e *Endpoint) SetDefaults() { e.Weight = 1 }

// UnmarshalConf reads either form.
func (e *Endpoint) UnmarshalConf(n conf.Node) error {
	if n.Kind() != conf.Map {
		return n.Decode(&e.Address)
	}
	type plain Endpoint // without this method
	return n.Decode((*plain)(e))
}

// Validate finds what is wrong with the endpoint.
func (e Endpoint) Validate() error {
	var errs []error
	if err := registry.CheckHostPort(e.Address, false); err != nil {
		errs = append(errs, conf.FieldError("address", err.Error()))
	}
	if e.Weight < 1 || e.Weight > maxWeight {
		errs = append(errs, conf.FieldErrorf("weight", "must be from 1 to %d, is %d", maxWeight, e.Weight))
	}
	return errors.Join(errs...)
}

// Locality is the endpoint's region and zone.
func (e Endpoint) Locality() registry.Locality {
	return registry.Locality{Region: e.Region, Zone: e.Zone}
}

// UpstreamKey is the service and port that an upstream's name stands for. The
// forms are name, name.namespace, and either with :port; what is left out is
// the node's namespace and port 80.
func (c *Config) UpstreamKey(name string) (registry.ServiceName, uint16, error) {
	host, portText, hasPort := strings.Cut(name, ":")
	port := uint64(registry.DefaultPort)
	if hasPort {
		var err error
		if port, err = strconv.ParseUint(portText, 10, 16); err != nil || port == 0 {
			return registry.ServiceName{}, 0, fmt.Errorf("%q is not a port in %q: it is a number from 1 to 65535", portText, name)
		}
	}
	label, namespace, hasNamespace := strings.Cut(host, ".")
	if !hasNamespace {
		namespace = c.Node.Namespace
	}
	if registry.CheckName(label) != nil || registry.CheckName(namespace) != nil {
		return registry.ServiceName{}, 0, fmt.Errorf(
			"%q is not the name of a service: write name, name.namespace or name.namespace:port, of a-z, 0-9 and '-'", name)
	}
	return registry.ServiceName{Namespace: namespace, Name: label}, uint16(port), nil
}
