package peer

import (
	"os"
	"path/filepath"
	"strings"
)

// Backend is the server behind every proxy: GET /1k, GET /64k, POST /post.
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
