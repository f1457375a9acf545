package peer

import (
	"context"
	"strings"
)

// Nginx is nginx with nothing but the hop: what all others are compared to.
func Nginx() Peer { return nginx("nginx", "nginx, bare: what the ratios are to", false) }

// NginxChain is nginx with an access log and a rate limit.
func NginxChain() Peer { return nginx("nginx-chain", "nginx with access_log and limit_req", true) }

func nginx(name, what string, chain bool) Peer {
	p := Peer{
		Name: name, What: what,
		configure: func(s Site) (string, []string, error) { return nginxCommand(s, "nginx.conf", chain) },
		version:   nginxVersion,
	}
	if !chain {
		p.setups = everySetup
	}
	return p
}

func nginxCommand(s Site, conf string, chain bool) (program string, args []string, err error) {
	if program, err = find("nginx"); err != nil {
		return "", nil, err
	}
	path, err := s.write(conf, chain)
	// -e: before it has read its configuration, nginx opens a log of its own.
	return program, []string{"-p", s.Dir, "-e", "stderr", "-c", path}, err
}

func nginxVersion(ctx context.Context) (string, error) {
	v, err := ask(ctx, "nginx", "-v")
	return strings.TrimPrefix(v, "nginx version: "), err
}
