package peer

import (
	"context"
	"strings"
)

// HAProxy is HAProxy with two threads.
func HAProxy() Peer {
	return Peer{
		Name: "haproxy", What: "HAProxy", setups: everySetup,
		configure: func(s Site) (string, []string, error) {
			program, err := find("haproxy")
			if err != nil {
				return "", nil, err
			}
			path, err := s.write("haproxy.cfg", false)
			return program, []string{"-db", "-f", path}, err
		},
		version: func(ctx context.Context) (string, error) {
			v, err := ask(ctx, "haproxy", "-v")
			v, _, _ = strings.Cut(strings.TrimPrefix(v, "HAProxy version "), " ")
			return "haproxy/" + v, err
		},
	}
}
