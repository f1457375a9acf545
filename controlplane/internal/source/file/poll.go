package file

import (
	"crypto/sha256"
	"errors"
	"maps"
	"os"
	"slices"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// poll looks at everything once. It reports whether the objects are others.
func (s *Source) poll() bool {
	found, unknown := s.list()
	changed := false
	if !unknown {
		changed = s.dropMissing(found)
	}
	pending := map[string][]object.Object{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		st, e := found[name], s.files[name]
		if e == nil {
			e = &entry{}
			s.files[name] = e
		}
		if st != e.seen {
			e.seen, e.settled = st, false
			continue
		}
		if !e.settled {
			s.reread(name, e, pending)
		}
	}
	s.rejectDuplicates(pending)
	for name, objects := range pending {
		e := s.files[name]
		e.objects, e.bad = objects, ""
		s.log.Info("file loaded", "file", name, "objects", len(objects))
		changed = true
	}
	if changed {
		// A file that collided with another is good once the other has changed.
		for _, e := range s.files {
			if e.bad != "" {
				e.settled, e.sum = false, [sha256.Size]byte{}
			}
		}
	}
	return changed
}

// dropMissing forgets the files that were missing the last time and still are.
func (s *Source) dropMissing(found map[string]stamp) bool {
	dropped := false
	for name, e := range s.files {
		if _, ok := found[name]; ok {
			continue
		}
		if e.seen != (stamp{}) { // missing for the first time
			e.seen, e.settled = stamp{}, false
			continue
		}
		s.log.Info("file is gone", "file", name, "objects", len(e.objects))
		delete(s.files, name)
		dropped = true
	}
	return dropped
}

// reread reads a file whose looks have changed and are settled. What differs
// and is good goes to pending.
func (s *Source) reread(name string, e *entry, pending map[string][]object.Object) {
	data, err := Read(name)
	if err != nil {
		s.reject(name, e, err)
		return // read again at the next poll
	}
	e.settled = true
	sum := sha256.Sum256(data)
	if sum == e.sum && e.bad == "" {
		return
	}
	e.sum = sum
	objects, err := object.Parse(name, data)
	if err != nil {
		s.reject(name, e, err)
		return
	}
	pending[name] = objects
}

// rejectDuplicates takes files out of pending until no object is there twice.
// Of two files that have the same object the later by name gives way, unless
// only the other one has changed.
func (s *Source) rejectDuplicates(pending map[string][]object.Object) {
	for {
		duplicates := object.Duplicates(s.objects(pending))
		if len(duplicates) == 0 {
			return
		}
		victim := duplicates[0].Second.Pos.File
		if _, ok := pending[victim]; !ok {
			victim = duplicates[0].First.Pos.File
		}
		var errs []error
		for _, d := range duplicates {
			switch victim {
			case d.Second.Pos.File:
				errs = append(errs, d.Error())
			case d.First.Pos.File:
				errs = append(errs, object.Duplicate{First: d.Second, Second: d.First}.Error())
			}
		}
		delete(pending, victim)
		s.reject(victim, s.files[victim], conf.Join(errs...))
	}
}

// reject notes that a file is bad and keeps its last good content. Each
// mistake is logged once.
func (s *Source) reject(name string, e *entry, err error) {
	if e.bad == err.Error() {
		return
	}
	e.bad = err.Error()
	placed, ok := errors.AsType[conf.Errors](err)
	if !ok {
		s.log.Error("file not loaded, its last good content stays", "file", name, "error", err)
		return
	}
	for _, one := range placed {
		s.log.Error("file not loaded, its last good content stays", "file", name, "error", one.Error())
	}
}

// list finds the files of all paths. unknown says that some could not be
// listed, so that a file that was not found may be there all the same.
func (s *Source) list() (found map[string]stamp, unknown bool) {
	found = map[string]stamp{}
	for i, p := range s.paths {
		if _, err := os.Stat(p.Name); err == nil {
			s.paths[i].Optional = false // once it was there, its absence is news
		}
		files, err := listPath(p)
		if err != nil {
			unknown = true
			if s.listing[p.Name] != err.Error() {
				s.listing[p.Name] = err.Error()
				s.log.Error("objects cannot be listed, those known stay", "error", err)
			}
			continue
		}
		delete(s.listing, p.Name)
		maps.Copy(found, files)
	}
	return found, unknown
}
