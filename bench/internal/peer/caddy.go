package peer

import "context"

// Caddy is Caddy's reverse_proxy.
func Caddy() Peer {
	return Peer{
		Name: "caddy", What: "Caddy",
		configure: func(s Site) (string, []string, error) {
			program, err := find("caddy")
			if err != nil {
				return "", nil, err
			}
			path, err := s.write("Caddyfile", false)
			return program, []string{"run", "--adapter", "caddyfile", "--config", path}, err
		},
		version: func(ctx context.Context) (string, error) {
			v, err := ask(ctx, "caddy", "version")
			return "caddy/" + v, err
		},
	}
}
