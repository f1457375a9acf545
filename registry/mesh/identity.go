package mesh

import (
	"crypto/tls"
	"errors"
	"fmt"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

// nodeInstances converts a service and checks that all of it is on this node:
// a stream speaks for one.
func nodeInstances(s *microregistry.Service, d micro.Defaults) ([]registry.Instance, error) {
	instances, err := micro.Instances(s, d)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, i := range instances {
		if i.Network != d.Network || i.Node != d.Node {
			errs = append(errs, fmt.Errorf("service %q: %s/%s is another node than this one, %s/%s",
				s.Name, i.Network, i.Node, d.Network, d.Node))
		}
	}
	return instances, errors.Join(errs...)
}

func systemTLS() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }
