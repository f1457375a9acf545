package snapshot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// State is what a sync remembers of a source from run to run. Losing it is
// safe: absences are counted anew, and what the mesh has is what is expected.
type State struct {
	Run   string    `json:"run"`  // that was applied last
	Time  time.Time `json:"time"` // when that was
	Total int       `json:"total"`
	Hash  string    `json:"hash"` // of its snapshot
	// Absent is for how many runs a host was absent, by object name. It stops
	// counting where that is enough.
	Absent map[string]int `json:"absent,omitempty"`
}

// Dir is the folder that a sync keeps its state in.
type Dir struct{ Path string }

func (d Dir) statePath(source string) string {
	return filepath.Join(d.Path, source+".state.json")
}

// SnapshotPath is where the last good snapshot of a source is.
func (d Dir) SnapshotPath(source string) string {
	return filepath.Join(d.Path, source+".snapshot.jsonl")
}

// State is what is remembered of a source; nil for nothing.
func (d Dir) State(source string) (*State, error) {
	data, err := os.ReadFile(d.statePath(source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a first run remembers nothing, and that is no mistake
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("state: %s: %w: remove it to begin anew", d.statePath(source), err)
	}
	return &s, nil
}

// SaveState remembers s.
func (d Dir) SaveState(source string, s *State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return d.write(d.statePath(source), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// SaveSnapshot keeps a snapshot as the last good one.
func (d Dir) SaveSnapshot(s *Snapshot) error {
	return d.write(d.SnapshotPath(s.Source), s.Write)
}

// Snapshot is the last good snapshot; nil where there is none.
func (d Dir) Snapshot(source string) (*Snapshot, error) {
	s, err := ReadFile(d.SnapshotPath(source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a first run has none, and that is no mistake
	}
	return s, err
}

func (d Dir) write(path string, content func(io.Writer) error) error {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return WriteFile(path, content)
}

// ReadFile reads a snapshot from a file.
func ReadFile(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// WriteFile makes or replaces a file in one step: whoever reads it has the old
// content or the new, also after a crash. Only the owner may read it.
func WriteFile(path string, content func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // reported is why it is not wanted
			_ = os.Remove(f.Name()) // likewise
		}
	}()
	buf := bufio.NewWriterSize(f, 64<<10)
	if err := content(buf); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	for _, step := range []func() error{buf.Flush, f.Sync, f.Close, func() error { return os.Rename(f.Name(), path) }} {
		if err := step(); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return nil
}
