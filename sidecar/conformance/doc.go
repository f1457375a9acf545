// Package conformance holds the sidecar to HTTP/1.1 by what others have
// written: go-httpbin, WebSocket and slow-client tools of the field, and tables
// of malformed messages from the RFCs and from the literature on request
// smuggling. There is nothing in it but tests, and they see the sidecar from
// outside: bytes go in on one side, and what comes out on the other is
// recorded.
package conformance
