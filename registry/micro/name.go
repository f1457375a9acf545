package micro

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/registry"
)

// ServiceName is the name of a service in Go-Micro's registry.
func ServiceName(n registry.ServiceName) string {
	if n.Namespace == "" || n.Namespace == registry.DefaultNamespace {
		return n.Name
	}
	return n.Name + "." + n.Namespace
}

// ParseServiceName reads name, name.namespace, and either followed by :port;
// the port is zero if there is none.
func ParseServiceName(s string) (registry.ServiceName, uint16, error) {
	host, portText, hasPort := strings.Cut(s, ":")
	var port uint64
	if hasPort {
		var err error
		if port, err = strconv.ParseUint(portText, 10, 16); err != nil || port == 0 {
			return registry.ServiceName{}, 0, fmt.Errorf("service %q: %q is not a port", s, portText)
		}
	}
	name, ns, ok := strings.Cut(host, ".")
	if !ok {
		ns = registry.DefaultNamespace
	}
	if err := registry.CheckName(name); err != nil {
		return registry.ServiceName{}, 0, fmt.Errorf("service %q: name: %w", s, err)
	}
	if err := registry.CheckName(ns); err != nil {
		return registry.ServiceName{}, 0, fmt.Errorf("service %q: namespace: %w", s, err)
	}
	return registry.ServiceName{Namespace: ns, Name: name}, uint16(port), nil
}
