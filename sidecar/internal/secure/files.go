package secure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often files are looked at. What has changed counts when it
// looks the same the next time: a certificate and its key are two files, and
// are written one after the other.
const lookEvery = time.Second

// againAfter is how many looks it takes until files with a mistake are read
// again as they are: a certificate may become valid, a file readable.
const againAfter = 60

// Files are certificates and authorities in files, by their names. The same
// files are read once, whoever uses them.
type Files struct {
	log     *slog.Logger
	metrics *Metrics

	mu  sync.Mutex
	all map[string]file // by their paths
}

// NewFiles makes an empty set. Run keeps it in step with the files.
func NewFiles(log *slog.Logger, m *Metrics) *Files {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if m == nil {
		m = NewMetrics(nil)
	}
	return &Files{log: log, metrics: m, all: map[string]file{}}
}

// file is a watched of any type.
type file interface {
	look()
	state() *fileState
	drop()
}

// fileState is what a watched has whatever it holds; guarded by Files.mu.
type fileState struct {
	paths   []string
	read    []fs.FileInfo // when the content was read; nil where there was no file
	seen    []fs.FileInfo // at the last look
	sum     [sha256.Size]byte
	failed  string // what is wrong with the content now; empty: nothing
	waited  int    // looks since then
	loaded  time.Time
	expires time.Time // zero for authorities
}

// name is the first path: the source in metrics and logs.
func (s *fileState) name() string { return s.paths[0] }

// watched is a value that files hold.
type watched[T any] struct {
	fileState
	f       *Files
	parse   func(contents [][]byte) (*T, error)
	expiry  func(*T) time.Time
	current atomic.Pointer[T]
}

// Current is Source's.
func (w *watched[T]) Current() *T { return w.current.Load() }

func (w *watched[T]) state() *fileState { return &w.fileState }

// KeyPair is the pair in these two files. The error of the first reading is a
// PairError.
func (f *Files) KeyPair(cert, key string) (Source[KeyPair], error) {
	return load(f, []string{cert, key}, parsePair, func(k *KeyPair) time.Time { return k.Expires })
}

// Bundle is the authorities in this file.
func (f *Files) Bundle(path string) (Source[Bundle], error) {
	return load(f, []string{path}, parseBundle, func(*Bundle) time.Time { return time.Time{} })
}

func parsePair(contents [][]byte) (*KeyPair, error) {
	return ParseKeyPair(contents[0], contents[1], time.Now())
}

func parseBundle(contents [][]byte) (*Bundle, error) { return ParseBundle(contents[0], time.Now()) }

// ReadKeyPair reads two files once. Errors are PairErrors.
func ReadKeyPair(cert, key string) (*KeyPair, error) { return read([]string{cert, key}, parsePair) }

// ReadBundle reads a file once.
func ReadBundle(path string) (*Bundle, error) { return read([]string{path}, parseBundle) }

func read[T any](paths []string, parse func([][]byte) (*T, error)) (*T, error) {
	contents, _, err := readAll(paths)
	if err != nil {
		return nil, err
	}
	value, err := parse(contents)
	return value, in(paths, err)
}

func load[T any](f *Files, paths []string, parse func([][]byte) (*T, error), expiry func(*T) time.Time) (Source[T], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.Join(paths, "\x00")
	if w, ok := f.all[key].(*watched[T]); ok {
		return w, nil
	}
	w := &watched[T]{fileState: fileState{paths: paths}, f: f, parse: parse, expiry: expiry}
	w.fileState.read = stat(paths)
	w.seen = w.fileState.read
	contents, sum, err := readAll(paths)
	if err != nil {
		return nil, err
	}
	value, err := parse(contents)
	if err != nil {
		return nil, in(paths, err)
	}
	w.put(value, sum)
	f.all[key] = w
	return w, nil
}

// put has a value be in force.
func (w *watched[T]) put(value *T, sum [sha256.Size]byte) {
	w.sum, w.failed, w.loaded, w.expires = sum, "", time.Now(), w.expiry(value)
	w.current.Store(value)
	if !w.expires.IsZero() {
		w.f.metrics.expiry.WithLabelValues(w.name()).Set(float64(w.expires.Unix()))
	}
	for _, path := range w.paths[1:] {
		if warning := KeyWarning(path); warning != "" {
			w.f.log.Warn("private key is not kept to the sidecar", "warning", warning)
		}
	}
}

// drop forgets its metrics.
func (w *watched[T]) drop() {
	w.f.metrics.expiry.DeleteLabelValues(w.name())
	for _, result := range []string{"ok", "failed"} {
		w.f.metrics.reloads.DeleteLabelValues(w.name(), result)
	}
}

// look reads the files again where they have changed and come to rest.
func (w *watched[T]) look() {
	now := stat(w.paths)
	rests := same(now, w.seen)
	w.seen = now
	if w.failed != "" {
		w.waited++
	}
	again := w.failed != "" && w.waited%againAfter == 0
	if !rests || same(now, w.fileState.read) && !again {
		return
	}
	contents, sum, err := readAll(w.paths)
	if !same(now, stat(w.paths)) {
		return // it goes on changing
	}
	w.fileState.read = now
	if err == nil && sum == w.sum && w.failed == "" {
		return // it was touched
	}
	var value *T
	if err == nil {
		value, err = w.parse(contents)
		err = in(w.paths, err)
	}
	if err != nil {
		w.fail(err)
		return
	}
	w.put(value, sum)
	w.f.metrics.reloads.WithLabelValues(w.name(), "ok").Inc()
	args := []any{"source", w.name()}
	if !w.expires.IsZero() {
		args = append(args, "expires", w.expires.UTC().Format(time.RFC3339))
	}
	w.f.log.Info("TLS file reloaded", args...)
}

func (w *watched[T]) fail(err error) {
	w.f.metrics.reloads.WithLabelValues(w.name(), "failed").Inc()
	text := err.Error()
	if text != w.failed { // else it has been said
		w.f.log.Error("TLS file is wrong, what was in force stays", "source", w.name(), "error", text)
	}
	w.failed, w.waited = text, 0
}

// Run looks at the files until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.look()
		}
	}
}

func (f *Files) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.all {
		w.look()
	}
}

// Retain forgets the files of which none of their paths is among these. Who
// still has their source keeps the last value.
func (f *Files) Retain(paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, w := range f.all {
		if s := w.state(); !slices.ContainsFunc(s.paths, func(p string) bool { return slices.Contains(paths, p) }) {
			delete(f.all, key)
			w.drop()
		}
	}
}

// FileStatus is a source in the admin's dump.
type FileStatus struct {
	Files   []string   `json:"files"`
	Loaded  time.Time  `json:"loaded"` // when what is in force was read
	Expires *time.Time `json:"expires,omitempty"`
	Error   string     `json:"error,omitempty"` // of what the files hold now, where that is not in force
}

// Status is every source, by its files.
func (f *Files) Status() []FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []FileStatus{}
	for _, w := range f.all {
		s := w.state()
		st := FileStatus{Files: s.paths, Loaded: s.loaded, Error: s.failed}
		if !s.expires.IsZero() {
			expires := s.expires
			st.Expires = &expires
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b FileStatus) int { return slices.Compare(a.Files, b.Files) })
	return list
}

// KeyWarning says that others on the machine can read a private key, or is
// empty.
func KeyWarning(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("%s: others on this machine can read or write this private key (mode %04o): chmod 600 it", path, info.Mode().Perm())
}

// in puts the file's name before what is wrong with it.
func in(paths []string, err error) error {
	var p *PairError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p) && p.Part == PartKey:
		return &PairError{PartKey, fmt.Errorf("%s %w", paths[1], p.Err)}
	case p != nil:
		return &PairError{PartCert, fmt.Errorf("%s: %w", paths[0], p.Err)}
	}
	return fmt.Errorf("%s %w", paths[0], err)
}

// readAll reads files whole.
func readAll(paths []string) (contents [][]byte, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for i, path := range paths {
		b, err := readFile(path)
		if err != nil {
			if len(paths) > 1 {
				err = &PairError{[]Part{PartCert, PartKey}[i], err}
			}
			return nil, sum, err
		}
		one := sha256.Sum256(b)
		_, _ = h.Write(one[:])
		contents = append(contents, b)
	}
	h.Sum(sum[:0])
	return contents, sum, nil
}

func readFile(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a pipe would wait
		return nil, fmt.Errorf("cannot be read: %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(f, maxPEM+1)); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if b.Len() > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxPEM)
	}
	return b.Bytes(), nil
}

func stat(paths []string) []fs.FileInfo {
	infos := make([]fs.FileInfo, len(paths))
	for i, path := range paths {
		infos[i], _ = os.Stat(path) // follows the links that Kubernetes swaps
	}
	return infos
}

// same reports whether files look as they did: not renamed over, not written.
func same(a, b []fs.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
	})
}
