// Package ads is the client's side of xDS over an aggregated stream (ADS), in
// its incremental form (delta). It knows the protocol and nothing of what the
// resources say: those who use it decode them, and give back what they refuse.
//
// A Client keeps one stream. It says what it subscribes to, hands on each
// response to a Handler, and answers it with an ACK or, naming every resource
// that the handler refused, a NACK. What was accepted before stays: a refused
// resource changes nothing, and neither does the loss of the stream. A new
// stream begins with all subscriptions and the versions held, so that a server
// sends only what has changed meanwhile, what is gone included.
//
// An Update means the same whichever form of the protocol brought it, so that
// the state-of-the-world form can stand beside the delta one.
package ads

import "google.golang.org/protobuf/types/known/anypb"

// The resource types of the xDS core, as type URLs.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// Wildcard is the name that subscribes to every resource of a type.
const Wildcard = "*"

// Resource is one resource as the server sent it.
type Resource struct {
	Name    string
	Version string     // opaque; equal versions of a name are equal resources
	Body    *anypb.Any // of the update's type
}

// Update is what one response of the server says. It may be empty: a server
// answers a first Wildcard so that has nothing of the type.
type Update struct {
	Type  string // the type URL
	Added []Resource
	// Removed names resources that are gone, and subscribed ones that the
	// server does not know.
	Removed []string
}

// Rejection is a resource that was refused, and why.
type Rejection struct {
	Name string
	Err  error
}

// Handler takes updates. Calls come one at a time, from the goroutine of
// Client.Run; the next response is not read before Handle returns, and Handle
// may call Subscribe and Unsubscribe.
type Handler interface {
	// Handle takes what it can of u and returns what it refuses. A refused
	// resource counts as not received: the version before stays the held one.
	Handle(u Update) []Rejection
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(Update) []Rejection

// Handle calls f.
func (f HandlerFunc) Handle(u Update) []Rejection { return f(u) }
