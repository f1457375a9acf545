package peer

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/bench/internal/answerer"
)

// Backend is the server of HTTP/1.1 behind every proxy: GET /1k, GET /64k, POST /post.
func Backend() Peer {
	return Peer{
		Name: "backend", What: "nginx with answers of fixed sizes",
		configure: func(s Site) (string, []string, error) {
			if err := os.WriteFile(filepath.Join(s.Dir, "64k"), []byte(strings.Repeat("x", 64<<10)), 0o644); err != nil {
				return "", nil, err
			}
			return nginxCommand(s, "backend.nginx.conf", false)
		},
		version: nginxVersion,
	}
}

// BackendHTTP2 is the server of HTTP/2 behind the proxies that speak it to a
// backend: it answers everything alike. self is the program that has
// answerer.Subcommand. With Site.Silent it answers nothing, and HTTP/1.1 neither.
func BackendHTTP2(self string) Peer {
	return Peer{
		Name: "backend-h2", What: "answers of one size over HTTP/2",
		configure: func(s Site) (string, []string, error) {
			kind, request := answerer.HTTP, 0
			switch {
			case s.Silent:
				kind = answerer.Hold
			case s.Setup.GRPC():
				kind, request = answerer.GRPC, answerer.Prefix+MessageSize
			}
			return self, []string{
				answerer.Subcommand, "-listen", s.Listen, "-kind", kind, "-request", strconv.Itoa(request), "-response", strconv.Itoa(AnswerSize),
			}, nil
		},
		version: func(context.Context) (string, error) { return "of the benchmark", nil },
	}
}
