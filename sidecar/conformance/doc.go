// Package conformance holds the sidecar to HTTP/1.1, HTTP/2 and gRPC by what
// others have written: go-httpbin, h2spec, gRPC's interop tests, grpc-js, curl,
// h2load, WebSocket and slow-client tools of the field, and tables of malformed
// messages and of abuses from the RFCs and from the literature on request
// smuggling. There is nothing in it but tests, and they see the sidecar from
// outside: bytes go in on one side, and what comes out on the other is
// recorded.
//
// The folder peers is a module of its own, with the programs of others that are
// built for the tests, and the Node programs.
package conformance
