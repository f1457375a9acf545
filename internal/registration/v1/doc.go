// Package registrationv1 is the registration stream's messages and service,
// generated from registration.proto beside it, which says what they promise.
// Both ends import it: the control plane, which serves the stream, and
// registry/mesh, which speaks it for the sidecar.
package registrationv1
