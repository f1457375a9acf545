// Package config is cmdb-sync.yaml: what it may hold, its defaults, and every
// mistake in it at its place. Loading it reads that file alone.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
)

// DefaultFile is the configuration that is read where none is named.
const DefaultFile = "cmdb-sync.yaml"

// Config is cmdb-sync.yaml. Paths in it are relative to the file's folder.
type Config struct {
	Controlplane Controlplane
	Sources      []Source
	Map          conf.Node // decoded apart, so that its expressions are checked even beside other mistakes
	Guard        guard.Config
	State        State
	Audit        Audit
	Listen       Listen
	Log          Log

	// Hash is of the file's content; plans name it.
	Hash string `yaml:"-"`
	// Mapping is what Map holds, compiled for the source.
	Mapping *mapping.Mapper `yaml:"-"`

	dir string
}

// Controlplane is where hosts are sent.
type Controlplane struct {
	Server string // http or https URL of the API
	// TokenFile holds the bearer token. It is read for each request, so that
	// it can be rotated.
	TokenFile string
	Timeout   time.Duration // of one request
}

// Source is one place that machines are read from.
type Source struct {
	Name string
	// Interval is from one run to the next. A source that can tell that it
	// changed is read then, too.
	Interval time.Duration
	// Canaries are keys, names or asset ids of machines that are certainly
	// there; a source without them is broken.
	Canaries []string

	kind source.Kind
	node conf.Node
}

// State is where a sync remembers what it saw.
type State struct{ Path string } // a folder

// Audit is where changes are written down, one JSON document a line.
type Audit struct{ Path string } // a file; none if empty

// Listen is the addresses to listen on.
type Listen struct{ Metrics string } // host:port; none if empty

// Log is what is logged, to stderr.
type Log struct {
	Level  string // debug, info, warn or error
	Format run.LogFormat
}

func defaults() *Config {
	return &Config{
		Controlplane: Controlplane{Server: "http://127.0.0.1:18080", Timeout: 30 * time.Second},
		Guard:        guard.Defaults(),
		State:        State{Path: "data/cmdb-sync"},
		Log:          Log{Level: "info", Format: run.LogAuto},
	}
}

// Load reads the configuration; with no name it is DefaultFile. Mistakes are
// conf.Errors, all that the file has.
func Load(name string, kinds []source.Kind) (*Config, error) {
	if name == "" {
		name = DefaultFile
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration %s: name one with -c", name)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > conf.MaxSize {
		return nil, fmt.Errorf("configuration: %s has more than %d bytes", name, conf.MaxSize)
	}
	root, err := conf.Parse(name, data)
	if err != nil {
		return nil, err
	}
	c := defaults()
	c.dir = filepath.Dir(name)
	sum := sha256.Sum256(data)
	c.Hash = hex.EncodeToString(sum[:])

	errs := []error{root.Decode(c)}
	sources, err := decodeSources(root.Field("sources"), kinds)
	errs = append(errs, err)
	mapper, err := compile(root, sources, kinds, mapping.NewPlaces(data))
	if err := conf.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	c.Sources, c.Mapping = sources, mapper
	for _, path := range []*string{&c.Controlplane.TokenFile, &c.State.Path, &c.Audit.Path} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(c.dir, *path)
		}
	}
	return c, nil
}

// compile checks the expressions, even where the sources are not right.
func compile(root conf.Node, sources []Source, kinds []source.Kind, places *mapping.Places) (*mapping.Mapper, error) {
	n := root.Field("map")
	if n.Kind() == conf.Absent || n.Kind() == conf.Null {
		return nil, root.Errorf("map: is missing: the expressions that make hosts of the source's records, at least key")
	}
	// Decoded where it stands, so that messages have the whole path.
	var wrapper struct{ Map mapping.Config }
	chosen, _ := root.Split("map")
	decodeErr := chosen.Decode(&wrapper)
	if decodeErr != nil {
		wrapper.Map = *mapping.Lenient(n)
	}
	s := Source{kind: source.Kind{Shape: source.Tree}}
	if len(sources) > 0 {
		s = sources[0]
	} else if items := root.Field("sources").Items(); len(items) > 0 {
		if kind, node, ok := kindOf(items[0], kinds); ok {
			s.kind, s.node = kind, node
		}
	}
	var fields []string
	if s.kind.Fields != nil {
		fields = s.kind.Fields(s.node)
	}
	mapper, err := mapping.Compile(&wrapper.Map, s.kind.Shape, fields, places)
	return mapper, conf.Join(decodeErr, err)
}

// Open makes the source that an entry of the configuration stands for.
func (c *Config) Open(s Source, log *slog.Logger) (source.Source, error) {
	return s.kind.New(s.node, source.Env{Dir: c.dir, Log: log})
}

// Validate says what is missing.
func (c *Config) Validate() error {
	if len(c.Sources) == 0 {
		return conf.FieldError("sources", "is missing: what to read machines from, such as [{name: idc, csv: {path: hosts.csv}}]")
	}
	return nil
}

// Validate checks the address of the control plane.
func (c *Controlplane) Validate() error {
	var errs []error
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		errs = append(errs, conf.FieldErrorf("server", "expected a URL such as http://127.0.0.1:18080, found %q", redacted(c.Server)))
	case u.User != nil:
		errs = append(errs, conf.FieldError("server", "holds a user or a password: secrets are read from files, see tokenFile"))
	case u.RawQuery != "" || u.Fragment != "":
		errs = append(errs, conf.FieldErrorf("server", "%q has a query or a fragment, which the address of a server has not", c.Server))
	}
	if c.Timeout == 0 {
		errs = append(errs, conf.FieldError("timeout", "must be more than 0"))
	}
	return errors.Join(errs...)
}

var userinfo = regexp.MustCompile(`//[^/@]*@`)

func redacted(s string) string { return userinfo.ReplaceAllString(s, "//***@") }

// Validate checks the path.
func (s *State) Validate() error {
	if s.Path == "" {
		return conf.FieldError("path", "must not be empty")
	}
	return nil
}

// Validate checks the address.
func (l *Listen) Validate() error {
	if l.Metrics == "" {
		return nil
	}
	if err := registry.CheckHostPort(l.Metrics, true); err != nil {
		return conf.FieldError("metrics", err.Error())
	}
	return nil
}

// Validate checks the level.
func (l *Log) Validate() error {
	_, err := run.ParseLevel(l.Level)
	if err != nil {
		return conf.FieldError("level", err.Error())
	}
	return nil
}
