package hop

import (
	"net/http"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
)

const kib = 1 << 10

// Case is one kind of request.
type Case struct {
	Name    string
	What    string
	Request load.Request
}

// Cases are all kinds of request, in the order of the report.
func Cases() []Case {
	request := func(method, path string, body, response int) load.Request {
		return load.Request{Method: method, Host: peer.Service, Path: path, Body: body, Response: response}
	}
	return []Case{
		{"get-1k", "GET, 1 KiB back", request(http.MethodGet, "/1k", 0, kib)},
		{"get-64k", "GET, 64 KiB back", request(http.MethodGet, "/64k", 0, 64*kib)},
		{"post-1k", "POST of 1 KiB, 1 KiB back", request(http.MethodPost, "/post", kib, kib)},
		{"post-64k", "POST of 64 KiB, 1 KiB back", request(http.MethodPost, "/post", 64*kib, kib)},
	}
}
