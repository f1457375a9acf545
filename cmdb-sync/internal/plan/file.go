package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
)

// WriteJSON writes the plan as one document.
func (p *Plan) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	return nil
}

// WriteFile makes or replaces a plan file in one step.
func (p *Plan) WriteFile(path string) error { return snapshot.WriteFile(path, p.WriteJSON) }

// ReadFile reads a plan file, and refuses one that was changed since it was
// made: what is applied is what was checked by the guards.
func ReadFile(path string) (*Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	defer f.Close()
	var p Plan
	if err := json.NewDecoder(f).Decode(&p); err != nil {
		return nil, fmt.Errorf("plan: %s: %w", path, err)
	}
	if p.Format != format {
		return nil, fmt.Errorf("plan: %s: its format is %q, expected %q", path, p.Format, format)
	}
	hash, err := p.hash()
	if err != nil {
		return nil, err
	}
	if hash != p.Hash {
		return nil, fmt.Errorf("plan: %s: its content has the hash %.12s, it says %.12s: it was changed, plan again", path, hash, p.Hash)
	}
	return &p, nil
}
