// Package mesh is the mesh itself as a Go-Micro registry: what is registered
// goes to the control plane over its registration stream, what is looked up
// comes from it over xDS.
//
// Writing. One stream, opened at the first Register, holds all that this
// process registers; the stream and a TTL are the lease. Each change is sent
// and answered by itself, as the whole set that it makes, so that a refused
// change takes nothing with it. When the stream breaks it is opened again for
// as long as it takes, with back-off, and the set is sent anew.
//
// Register and Deregister wait for the control plane's answer, but not long:
// when it is away they return ErrPending, and the change is made as soon as it
// is back.
//
// Reading. The names of all services are followed from the first look-up on,
// and the endpoints of those that were asked for. Both are held in memory, so
// that a look-up makes no request and an outage of the control plane changes
// no answer. Only endpoints that take requests are given.
//
// A service name is that of package registry/micro: name or name.namespace,
// and for a look-up also name:port, which gives one port's endpoints alone.
package mesh
