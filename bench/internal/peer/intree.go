package peer

import (
	"context"
	"runtime"
	"runtime/debug"
)

// Subcommand is the hidden one by which the benchmark's own program runs one
// of the proxies in it.
const Subcommand = "proxy"

// ReverseProxy is net/http/httputil.ReverseProxy. self is the program that
// has Subcommand.
func ReverseProxy(self string) Peer {
	return inTree(self, "reverseproxy", "net/http with httputil.ReverseProxy", func(context.Context) (string, error) {
		return runtime.Version(), nil
	})
}

// FastHTTP is a proxy of fasthttp's server and client.
func FastHTTP(self string) Peer {
	const module = "github.com/valyala/fasthttp"
	return inTree(self, "fasthttp", "fasthttp's server and client", func(context.Context) (string, error) {
		info, ok := debug.ReadBuildInfo()
		if ok {
			for _, d := range info.Deps {
				if d.Path == module {
					return "fasthttp/" + d.Version, nil
				}
			}
		}
		return "fasthttp of an unknown version", nil // a test's program does not tell its modules
	})
}

func inTree(self, name, what string, version func(context.Context) (string, error)) Peer {
	return Peer{
		Name: name, What: what, version: version,
		configure: func(s Site) (string, []string, error) {
			return self, []string{Subcommand, name, "-listen", s.Listen, "-backend", s.Backend}, nil
		},
	}
}
