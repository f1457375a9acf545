package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/file"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/sidecar"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
)

// DefaultFile is the configuration that is read where none is named.
const DefaultFile = "controlplane.yaml"

// Config is controlplane.yaml. Every key has a default. Paths in it are
// relative to the file's folder.
type Config struct {
	Listen       Listen
	Store        Store
	Sources      Sources
	Registration Registration
	Log          Log
	Tokens       conf.Node

	// file is where it was read from; empty for the defaults.
	file string
	node conf.Node
}

// Listen is the addresses to listen on, host:port. Port 0 is one that is free;
// the log says which.
type Listen struct {
	XDS string `yaml:"xds"` // gRPC: xDS and the registration stream
	API string `yaml:"api"` // HTTP
}

// Store is where state is kept.
type Store struct {
	Bolt Bolt
	Etcd conf.Node
}

// Bolt is the embedded store.
type Bolt struct{ Path string }

// Sources is what the model is made of.
type Sources struct {
	// Files are files and folders of objects. Left out, it is the folder
	// objects, which need not be there.
	Files      []string
	Registries conf.Node
}

// Registration bounds what sidecars ask for.
type Registration struct {
	// Grace is how much longer than their TTL known instances stay after the
	// control plane's own restart.
	Grace time.Duration
}

// Log is what is logged, to stderr.
type Log struct {
	Level  string // debug, info, warn or error
	Format run.LogFormat
}

func defaults() *Config {
	return &Config{
		Listen:       Listen{XDS: "127.0.0.1:18000", API: "127.0.0.1:18080"},
		Store:        Store{Bolt: Bolt{Path: "data/outrigger.db"}},
		Registration: Registration{Grace: sidecar.DefaultGrace},
		Log:          Log{Level: "info", Format: run.LogAuto},
	}
}

// Load reads the configuration. With no name it is DefaultFile, or the
// defaults where there is no such file. Mistakes are conf.Errors.
func Load(name string) (*Config, error) {
	c := defaults()
	if name == "" {
		if _, err := os.Stat(DefaultFile); errors.Is(err, fs.ErrNotExist) {
			return c, nil
		}
		name = DefaultFile
	}
	n, err := conf.Load(name)
	if err != nil {
		return nil, err
	}
	c.file, c.node = name, n
	if err := n.Decode(c); err != nil {
		return nil, err
	}
	return c, nil
}

// Validate says what of the configuration is known and not carried.
func (c *Config) Validate() error {
	if !c.Tokens.IsZero() {
		return conf.FieldError("tokens", "tokens are not carried by this version: listen on loopback, or where only the mesh can connect")
	}
	return nil
}

// Validate checks the addresses.
func (l *Listen) Validate() error {
	var errs []error
	for _, a := range []struct{ key, address string }{{"xds", l.XDS}, {"api", l.API}} {
		if err := registry.CheckHostPort(a.address, true); err != nil {
			errs = append(errs, conf.FieldError(a.key, err.Error()))
		}
	}
	if len(errs) == 0 && l.XDS == l.API && !isAnyPort(l.XDS) {
		errs = append(errs, conf.FieldErrorf("api", "%s is listen.xds already", l.API))
	}
	return errors.Join(errs...)
}

func isAnyPort(address string) bool { return strings.HasSuffix(address, ":0") }

// Validate says which stores are not carried.
func (s *Store) Validate() error {
	if !s.Etcd.IsZero() {
		return conf.FieldError("etcd", "the etcd store is not carried by this version: leave it out for the embedded one")
	}
	return nil
}

// Validate checks the path.
func (b *Bolt) Validate() error {
	if b.Path == "" {
		return conf.FieldError("path", "must not be empty")
	}
	return nil
}

// Validate says which sources are not carried.
func (s *Sources) Validate() error {
	var errs []error
	if !s.Registries.IsZero() {
		errs = append(errs, conf.FieldError("registries", "registries are not carried by this version: sidecars register here, and services can be declared in files"))
	}
	for i, f := range s.Files {
		if f == "" {
			errs = append(errs, conf.FieldError(fmt.Sprintf("files[%d]", i), "must not be empty"))
		}
	}
	return errors.Join(errs...)
}

// Validate checks the level.
func (l *Log) Validate() error {
	if _, err := run.ParseLevel(l.Level); err != nil {
		return conf.FieldError("level", err.Error())
	}
	return nil
}

// path is a path of the file, relative to the working directory or absolute.
func (c *Config) path(p string) string {
	if c.file == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(c.file), p)
}

// objectPaths are the paths of the objects, each with its place in the file.
func (c *Config) objectPaths() []file.Path {
	if c.Sources.Files == nil {
		return []file.Path{{Name: c.path("objects"), Optional: true}}
	}
	paths := make([]file.Path, len(c.Sources.Files))
	for i, name := range c.Sources.Files {
		paths[i] = file.Path{Name: c.path(name), Pos: c.node.At(fmt.Sprintf("sources.files[%d]", i)).Pos()}
	}
	return paths
}
