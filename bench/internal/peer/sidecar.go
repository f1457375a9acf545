package peer

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Sidecar is a build of the sidecar with nothing but the hop. name tells builds
// apart; binary is the program's path.
func Sidecar(name, binary string) Peer {
	return sidecar(name, "the sidecar, bare", binary, false)
}

// SidecarChain is a build of the sidecar with the default chain.
func SidecarChain(name, binary string) Peer {
	return sidecar(name, "the sidecar with accesslog, metrics, tracing 1 %, ratelimit, breaker", binary, true)
}

func sidecar(name, what, binary string, chain bool) Peer {
	p := Peer{
		Name: name, What: what,
		configure: func(s Site) (string, []string, error) {
			path, err := s.write("sidecar.yaml", chain)
			return binary, []string{"run", "-c", path}, err
		},
		version: func(ctx context.Context) (string, error) {
			out, err := exec.CommandContext(ctx, binary, "version").Output()
			if err != nil {
				return "", fmt.Errorf("%s version: %w", binary, err)
			}
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			return line, nil
		},
	}
	if !chain {
		p.setups = everySetup
	}
	return p
}
