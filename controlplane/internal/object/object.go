// Package object is the kinds of configuration object: how each is decoded
// strictly from YAML or JSON, validated with all errors at once, and what is
// left of it as plain Go for the rest of the control plane. The Gateway API's
// own types are known here alone.
//
// Kinds: MeshService and Host (mesh.outrigger.dev/v1alpha1) and HTTPRoute
// (gateway.networking.k8s.io/v1). What of a kind this version does not carry is
// refused at its position: an object never means less than it says. What a
// server writes (status, metadata.creationTimestamp) is read over, so that what
// was read can be written back.
package object

import (
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// The kinds.
const (
	KindMeshService = "MeshService"
	KindHTTPRoute   = "HTTPRoute"
	KindHost        = "Host"
)

// ID identifies an object.
type ID struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"` // empty for a kind that has none
	Name      string `json:"name"`
}

// String is kind namespace/name, or kind name for a kind without namespaces.
func (id ID) String() string { return id.Kind + " " + id.Key() }

// Key is namespace/name, or name: what tells objects of one kind apart.
func (id ID) Key() string {
	if id.Namespace == "" {
		return id.Name
	}
	return id.Namespace + "/" + id.Name
}

// Meta is what every object has.
type Meta struct {
	ID
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Created is when the object was made, where its source knows: the older
	// of two conflicting routes wins.
	Created time.Time `json:"created,omitzero"`
	// Pos is where it stands.
	Pos conf.Pos `json:"-"`
}

// Object is one decoded object.
type Object interface {
	// Metadata is the object's identity and position.
	Metadata() Meta
}

// MeshService declares a service: its ports, and endpoints where nobody
// registers them.
type MeshService struct {
	Meta
	Ports     []registry.Port
	Endpoints []StaticEndpoint
}

// StaticEndpoint is one port of one declared endpoint.
type StaticEndpoint struct {
	PortName string
	Address  string // host:port
	Weight   uint32 // from 1
	Locality registry.Locality
}

// ServiceName is the service that s declares.
func (s *MeshService) ServiceName() registry.ServiceName {
	return registry.ServiceName{Namespace: s.Namespace, Name: s.Name}
}

// Metadata implements Object.
func (s *MeshService) Metadata() Meta { return s.Meta }

// HTTPRoute is the Gateway API's HTTPRoute, normalized: defaults are filled in
// and references carry their namespace.
type HTTPRoute struct {
	Meta
	Parents   []Parent
	Hostnames []string // lower case; empty: all
	Rules     []Rule
}

// Metadata implements Object.
func (r *HTTPRoute) Metadata() Meta { return r.Meta }

// ParentKind is what a route attaches to.
type ParentKind string

// The kinds of parent.
const (
	ParentGateway ParentKind = "Gateway"
	ParentService ParentKind = "Service" // MeshService too: both name the same service of the mesh
)

// Parent is what a route attaches to.
type Parent struct {
	Kind      ParentKind
	Namespace string
	Name      string
	// Port narrows a service to one of its ports, zero is all of them. For a
	// gateway it is the listener's port, DefaultGatewayPort where none is said.
	Port uint16
	// PortName narrows a service to one of its ports by name; empty is all.
	PortName string
}

// DefaultGatewayPort is the listener port of a Gateway parent that names none.
const DefaultGatewayPort = 80

// Rule is some matches, any of which sends a request to the backends.
type Rule struct {
	Name     string // empty where the rule has none
	Matches  []Match
	Backends []Backend
	Timeout  time.Duration // of the whole request; zero: none
}

// PathKind is how a path is compared.
type PathKind string

// The kinds of path match, most specific first.
const (
	PathExact             PathKind = "Exact"
	PathRegularExpression PathKind = "RegularExpression" // RE2, of the whole path
	PathPrefix            PathKind = "PathPrefix"        // whole segments
)

// Match is the conditions of one match: all must hold.
type Match struct {
	PathKind PathKind
	Path     string
	Method   string // empty: any
	Headers  []ValueMatch
	Query    []ValueMatch
}

// ValueMatch compares the value of a header field (its name in lower case) or
// of a query parameter.
type ValueMatch struct {
	Name  string
	Value string
	Regex bool // Value is an RE2 expression of the whole value
}

// Backend is a share of a rule's requests.
type Backend struct {
	Service registry.ServiceName
	Port    uint16
	Weight  uint32 // relative to its siblings; zero gets nothing
}
