package shop

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ControlPlaneURL is where the control plane's API is.
func (s *Shop) ControlPlaneURL() string { return "http://" + s.Addr("control plane api") }

// KnownEndpoints is what `controlplane get endpoints` prints of a service: the
// heading and its lines.
func (s *Shop) KnownEndpoints(ctx context.Context, service string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.opts.Bin, "controlplane"), "get", "endpoints", "--server", s.ControlPlaneURL())
	cmd.Dir = s.Dir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("controlplane get endpoints: %w: %.300s", err, out)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(out)) {
		if kept.Len() == 0 || strings.HasPrefix(line, service+".") {
			kept.WriteString(line)
		}
	}
	return kept.String(), nil
}
