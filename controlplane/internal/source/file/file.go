// Package file is the source of objects that stand in files: folders of YAML
// that people edit and deployments replace.
//
// At the start everything has to be right: Load reports every mistake of every
// file. Afterwards the files are watched by polling, which works on every file
// system and with every way of saving. A file that is bad then keeps its last
// good content, is logged and counted; so does one that cannot be read, and
// everything of a folder that cannot be listed: an error is never "there is
// nothing". A file or an absence is believed once it looked the same in two
// polls, so that nothing is read half written.
package file

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

const (
	// Name is the source's name in the mesh.
	Name = "file"
	// DefaultInterval is how often the files are looked at.
	DefaultInterval = 500 * time.Millisecond
)

// Options is what a Source needs.
type Options struct {
	Logger *slog.Logger
	// Paths are files and folders. Of a folder, every file below it is read
	// whose name ends in .yaml or .yml; what begins with a dot is passed over.
	Paths []Path
	// Interval is how often the files are looked at; zero: DefaultInterval.
	Interval time.Duration
	Metrics  prometheus.Registerer
}

// Path is a file or folder to read.
type Path struct {
	Name string
	// Optional says that it is no mistake if nothing is there.
	Optional bool
	// Pos is where the path was configured, if it was.
	Pos conf.Pos
}

// Source reads objects from files.
type Source struct {
	log      *slog.Logger
	paths    []Path
	interval time.Duration
	metrics  *metrics
	files    map[string]*entry
	listing  map[string]string // what was last logged of a path that could not be listed
	problems atomic.Pointer[[]string]
}

var _ source.Source = (*Source)(nil)

// entry is what is known of one file.
type entry struct {
	seen    stamp // at the last poll
	settled bool  // seen was the same at the poll before, and read
	sum     [sha256.Size]byte
	objects []object.Object // the last good content
	bad     string          // what was last logged of it; empty if it is good
}

// New makes a Source that has read nothing yet.
func New(o Options) *Source {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	return &Source{
		log:      o.Logger.With("component", "files"),
		paths:    o.Paths,
		interval: o.Interval,
		metrics:  newMetrics(o.Metrics),
		files:    map[string]*entry{},
		listing:  map[string]string{},
	}
}

// Load reads all files. It returns every mistake in them as conf.Errors, where
// there is one to place. It is called once, before Run.
func (s *Source) Load() error {
	var errs []error
	for _, p := range s.paths {
		found, err := listPath(p)
		if err != nil {
			errs = append(errs, place(p.Pos, err))
			continue
		}
		for name, st := range found {
			if _, ok := s.files[name]; ok {
				continue // below two of the paths
			}
			data, err := Read(name)
			if err != nil {
				errs = append(errs, place(p.Pos, err))
				continue
			}
			e := &entry{seen: st, settled: true, sum: sha256.Sum256(data)}
			if e.objects, err = object.Parse(name, data); err != nil {
				errs = append(errs, err)
			}
			s.files[name] = e
		}
	}
	for _, d := range object.Duplicates(s.objects(nil)) {
		errs = append(errs, d.Error())
	}
	if err := conf.Join(errs...); err != nil {
		return err
	}
	s.count()
	return nil
}

// place gives an error of a configured path the position it was configured at.
func place(pos conf.Pos, err error) error {
	if pos == (conf.Pos{}) {
		return err
	}
	return &conf.Error{Pos: pos, Msg: err.Error()}
}

// objects are those of all files, by file name, with what is pending of a
// file in place of what is known of it.
func (s *Source) objects(pending map[string][]object.Object) []object.Object {
	var all []object.Object
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if next, ok := pending[name]; ok {
			all = append(all, next...)
			continue
		}
		all = append(all, s.files[name].objects...)
	}
	return all
}

// Run sends what Load has read, then what changes, until ctx ends. All files
// are one key, so that an object that moves from one to another is never away.
func (s *Source) Run(ctx context.Context, out chan<- source.Update) error {
	if !source.Send(ctx, out, s.update()) || !source.Send(ctx, out, source.Update{Source: Name, Synced: true}) {
		return nil
	}
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		changed := s.poll()
		s.count()
		if changed && !source.Send(ctx, out, s.update()) {
			return nil
		}
	}
}

// update is everything that is known.
func (s *Source) update() source.Update {
	return source.Update{Source: Name, Key: "objects", Content: source.Of(s.objects(nil)...)}
}

// Read reads a file of objects, bounded.
func Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, conf.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read objects from %s: %w", name, err)
	}
	if len(data) > conf.MaxSize {
		return nil, fmt.Errorf("read objects from %s: it is larger than %d bytes", name, conf.MaxSize)
	}
	return data, nil
}

// Count is how many objects are known. It is for before Run.
func (s *Source) Count() int { return len(s.objects(nil)) }
