package serve

import (
	"slices"
	"strings"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// served is the types that a stream may ask for, in the order in which their
// changes are sent. The ones after the route configurations have no resources
// here: who asks for one is told that it is not there.
var served = []string{
	resourcev3.ClusterType,
	resourcev3.EndpointType,
	resourcev3.ListenerType,
	resourcev3.RouteType,
	resourcev3.ScopedRouteType,
	resourcev3.VirtualHostType,
	resourcev3.SecretType,
	resourcev3.RuntimeType,
	resourcev3.ExtensionConfigType,
}

// wildcardByDefault are the types of which an empty subscription means all.
// For every other type it means none.
var wildcardByDefault = []string{resourcev3.ClusterType, resourcev3.ListenerType}

// onlyNamed is the types of served that are not in wildcardByDefault.
func onlyNamed() []string {
	return slices.DeleteFunc(slices.Clone(served), func(t string) bool { return slices.Contains(wildcardByDefault, t) })
}

// short is the last word of a type URL, for logs and metrics.
func short(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// The two halves of make before break: what may be named, and what names it.
var (
	targets   = []string{resourcev3.ClusterType, resourcev3.EndpointType}
	referrers = []string{resourcev3.ListenerType, resourcev3.RouteType}
)
