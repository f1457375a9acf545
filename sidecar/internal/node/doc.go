// Package node puts a sidecar or gateway together: configuration in, listeners,
// routes, registration and drain out. It is the one place where the sidecar's
// rooms meet; each knows nothing of the others.
package node
