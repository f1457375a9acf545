// Package micro converts between the mesh's model and the types of Go-Micro's
// registry, so that both sides keep their own.
//
// A service is named as callers name it: its name alone in the namespace
// default, name.namespace elsewhere. Its version is Go-Micro's. A node is one
// port of one instance; what Go-Micro has no field for stands in the node's
// metadata, each key left out where it is empty:
//
//	outrigger.network     the network it is in
//	outrigger.node        the node id of its sidecar, or its pod's uid
//	outrigger.port        the port's name
//	outrigger.portNumber  the service port that it implies, from 1 to 65535
//	outrigger.protocol    http, http2, grpc or tcp; without it HTTP of the client's version
//	outrigger.host        name or asset id of its machine
//	outrigger.region      where it runs, from wide to narrow
//	outrigger.zone
//	outrigger.subzone
//	outrigger.status      up, draining or down; up if absent
//	outrigger.weight      relative, from 1; 1 if absent
//
// Other keys are the instance's own metadata. A node's id is
// network/node/port, unless it was registered under one of its own: that is
// kept in the instance's metadata as outrigger.id.
//
// The RPC endpoints and the metadata that Go-Micro keeps for a service as a
// whole are not carried: the mesh knows instances.
package micro

// The keys of a node's metadata.
const (
	KeyNetwork    = "outrigger.network"
	KeyNode       = "outrigger.node"
	KeyPort       = "outrigger.port"
	KeyPortNumber = "outrigger.portNumber"
	KeyProtocol   = "outrigger.protocol"
	KeyHost       = "outrigger.host"
	KeyRegion     = "outrigger.region"
	KeyZone       = "outrigger.zone"
	KeySubzone    = "outrigger.subzone"
	KeyStatus     = "outrigger.status"
	KeyWeight     = "outrigger.weight"
	KeyID         = "outrigger.id" // in an instance's metadata only
)
