package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
)

func statusCommand() *cobra.Command {
	var server, output string
	c := &cobra.Command{
		Use: "status", Short: "Show how the running control plane stands", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := newOutput(output, c.OutOrStdout())
			if err != nil {
				return err
			}
			cl, err := newClient(server)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := cl.call(c.Context(), http.MethodGet, "/v1/status", nil, &raw); err != nil {
				return err
			}
			if !out.table() {
				return out.print(raw)
			}
			var s api.Status
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("the answer to /v1/status is not understood: %w", err)
			}
			return printStatus(cl.server, &s, out)
		},
	}
	withOutput(c, &output)
	return withServer(c, &server)
}

func printStatus(server string, s *api.Status, out *output) error {
	t := &table{}
	row := func(name string, cells ...cell) { t.add(append([]cell{plain(name)}, cells...)...) }
	ready := cell{"ready", green}
	if s.NotReady != "" {
		ready = cell{"not ready: " + s.NotReady, red}
	}
	row("control plane", plain(server), plain(s.Version), ready)
	row("services", plain(strconv.Itoa(s.Services)))
	counted := func(n int, word, colour string) cell {
		c := cell{text: fmt.Sprintf("%d %s", n, word)}
		if n > 0 {
			c.colour = colour
		}
		return c
	}
	row("endpoints", counted(s.Endpoints.Up, "up", green), counted(s.Endpoints.Draining, "draining", yellow), counted(s.Endpoints.Down, "down", red))
	row("hosts", plain(strconv.Itoa(s.Hosts)))
	row("routes", plain(strconv.Itoa(s.Routes)))
	row("proxies", plain(fmt.Sprintf("%d connected", s.Proxies.Connected)), counted(s.Proxies.NACKs, "refusing (NACK)", red))
	for _, c := range s.Collections {
		row("store", plain(c.Kind), plain("revision "+c.Revision))
	}
	for _, src := range s.Sources {
		synced := cell{"synced", green}
		if !src.Synced {
			synced = cell{"not synced", red}
		}
		row("source", plain(src.Name), synced, plain(fmt.Sprintf("%d keys", src.Keys)))
	}
	if err := t.write(out); err != nil {
		return err
	}
	for _, r := range s.Proxies.Refusing {
		if _, err := fmt.Fprintln(out.w, "NACK:", r); err != nil {
			return err
		}
	}
	for _, src := range s.Sources {
		for _, p := range src.Problems {
			if _, err := fmt.Fprintln(out.w, "problem:", p); err != nil {
				return err
			}
		}
	}
	return nil
}
