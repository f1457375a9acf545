package shop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Edit replaces text in a configuration file, as somebody does who opens it,
// changes a line and saves it. It is an error if the text is not there.
func (s *Shop) Edit(name, before, after string) error {
	path := filepath.Join(s.Dir(), name)
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	if !strings.Contains(string(content), before) {
		return fmt.Errorf("edit %s: it has no %q", name, before)
	}
	// Written beside and renamed, as editors do: nobody reads half a file.
	next := path + ".new"
	if err := os.WriteFile(next, []byte(strings.ReplaceAll(string(content), before, after)), 0o600); err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	return nil
}
