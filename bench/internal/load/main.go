package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Subcommand is the hidden one by which the benchmark's own program runs Main.
const Subcommand = "load"

// Held is what Main says of idle connections: once when they are open, and
// once when they were closed.
type Held struct {
	Open int `json:"open"`
	Lost int `json:"lost"` // of those that were open, closed by the other side
}

// Main reads a Spec as JSON from in, does it, and writes a Result as JSON to
// out. In the modes idle and pending it writes a Held when the connections are open, waits for
// the end of in, and writes another one.
func Main(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec Spec
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&spec); err != nil {
		return fmt.Errorf("load: the spec on the standard input: %w", err)
	}
	answers := json.NewEncoder(out)
	if spec.Mode != Idle && spec.Mode != Pending {
		r, err := Run(ctx, spec)
		if err != nil {
			return err
		}
		return answers.Encode(r)
	}
	release := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end, of whatever kind, is what is waited for
		close(release)
	}()
	lost, err := Hold(ctx, spec, func() error { return answers.Encode(Held{Open: spec.Connections}) }, release)
	if err != nil {
		return err
	}
	return answers.Encode(Held{Lost: lost})
}
