package file

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stamp is how a file looks from outside. Two contents of one file with the
// same stamp are possible (a write that keeps size and time), but not by any
// way of saving that is in use.
type stamp struct {
	modified time.Time
	size     int64
}

// Files are the files of a path, sorted: it itself, or where it is a folder
// every file of objects below it.
func Files(name string) ([]string, error) {
	found, err := listPath(Path{Name: name})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// listPath finds the files of a path.
func listPath(p Path) (map[string]stamp, error) {
	found := map[string]stamp{}
	info, err := os.Stat(p.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Optional:
		return found, nil
	case err != nil:
		return nil, fmt.Errorf("objects: %w", err)
	case !info.IsDir():
		found[filepath.Clean(p.Name)] = stamp{info.ModTime(), info.Size()}
		return found, nil
	}
	// The folder's real name is walked: a walk does not enter a link, and the
	// folder itself may be one.
	root, err := filepath.EvalSymlinks(p.Name)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == root:
			return nil
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), ".") || d.IsDir():
			return nil
		}
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		info, err := os.Stat(name) // through links: that is how ConfigMaps are mounted
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		found[filepath.Join(p.Name, rel)] = stamp{info.ModTime(), info.Size()}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("objects in %s: %w", p.Name, err)
	}
	return found, nil
}
