package hop

import (
	"net/http"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
)

const kib = 1 << 10

// Case is one kind of request.
type Case struct {
	Name     string
	What     string
	Setup    peer.Setup
	Base     string // the peer that all others are divided by
	Protocol string // of load.Spec
	Request  load.Request
}

// streams is how many requests at a time a connection of HTTP/2 has, and share
// the part of the connections that there are of it then: as many workers of a
// proxy have something to do, and each finds several requests at once.
const (
	streams = 16
	share   = 4
)

// Cases are all kinds of request, in the order of the report. Those of one
// setup stand together.
func Cases() []Case {
	request := func(method, path string, body, response int) load.Request {
		return load.Request{Method: method, Host: peer.Service, Path: path, Body: body, Response: response}
	}
	get := request(http.MethodGet, "/1k", 0, kib)
	return []Case{
		{"get-1k", "GET, 1 KiB back", peer.HTTP1, base, load.HTTP1, get},
		{"get-64k", "GET, 64 KiB back", peer.HTTP1, base, load.HTTP1, request(http.MethodGet, "/64k", 0, 64*kib)},
		{"post-1k", "POST of 1 KiB, 1 KiB back", peer.HTTP1, base, load.HTTP1, request(http.MethodPost, "/post", kib, kib)},
		{"post-64k", "POST of 64 KiB, 1 KiB back", peer.HTTP1, base, load.HTTP1, request(http.MethodPost, "/post", 64*kib, kib)},
		{"h2", "GET, 1 KiB back, HTTP/2 on both sides (nginx: HTTP/1.1 to the backend)", peer.HTTP2, baseHTTP2, load.HTTP2, get},
		{
			"grpc", "unary gRPC, 128 bytes there, 1 KiB back, HTTP/2 on both sides", peer.GRPC, baseHTTP2, load.GRPC,
			request(http.MethodPost, peer.CallPath, peer.MessageSize, peer.AnswerSize),
		},
		{"tls1", "GET, 1 KiB back, HTTP/1.1 over TLS 1.3 (to the backend: without TLS)", peer.TLSHTTP1, base, load.HTTP1, get},
		{"tls2", "as h2, over TLS 1.3 (to the backend: without TLS)", peer.TLSHTTP2, baseHTTP2, load.HTTP2, get},
	}
}

// CaseNames are the names of all cases.
func CaseNames() []string {
	var names []string
	for _, c := range Cases() {
		names = append(names, c.Name)
	}
	return names
}

// spec is the case's requests over as many connections, at the proxy of a site.
func (c Case) spec(mode string, s peer.Site, connections int) load.Spec {
	spec := load.Spec{Mode: mode, Address: s.Listen, Protocol: c.Protocol, Request: c.Request, Connections: connections}
	if c.Setup.TLS() {
		spec.TLS = &load.TLS{CA: s.Certificate.PEM, ServerName: peer.Service}
	}
	if c.Protocol != load.HTTP1 {
		spec.Connections, spec.Streams = max(1, connections/share), streams
	}
	return spec
}
