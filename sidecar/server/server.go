// Package server is the proxy as a Go-Micro server.Server, for programs that
// embed it: it runs under micro.NewService(micro.Server(server.New(...))) as
// well as by itself.
//
// The configuration is that of the sidecar's file. What Go-Micro's options say
// beside it goes before it: Name and Version of the app, Address of the inbound
// listener, Advertise, Registry and RegisterTTL. Start listens and registers,
// Stop deregisters, waits until callers have learned of it, and drains.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/server"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/version"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/node"
)

// settings is what the options of this package say; Go-Micro's Options carry it
// in their context.
type settings struct {
	file   string
	yaml   []byte
	kinds  []middleware.Kind
	logger *slog.Logger
}

type settingsKey struct{}

func set(f func(*settings)) server.Option {
	return func(o *server.Options) {
		if o.Context == nil {
			o.Context = context.Background()
		}
		var s settings
		if old, ok := o.Context.Value(settingsKey{}).(settings); ok {
			s = old
		}
		f(&s)
		o.Context = context.WithValue(o.Context, settingsKey{}, s)
	}
}

// ConfigFile is the path of the configuration (see docs/architecture.md for
// its keys). Without it and ConfigYAML, every key has its default.
func ConfigFile(path string) server.Option {
	return set(func(s *settings) { s.file, s.yaml = path, nil })
}

// ConfigYAML is the configuration itself.
func ConfigYAML(content string) server.Option {
	return set(func(s *settings) { s.file, s.yaml = "", []byte(content) })
}

// Kinds are the kinds of middleware that the configuration may name, in place
// of the built-in ones.
func Kinds(kinds ...middleware.Kind) server.Option {
	return set(func(s *settings) { s.kinds = kinds })
}

// Logger takes the proxy's log; without it there is none.
func Logger(l *slog.Logger) server.Option {
	return set(func(s *settings) { s.logger = l })
}

// Server is the proxy. New makes one.
type Server struct {
	mu        sync.Mutex
	options   server.Options
	cancel    context.CancelFunc // nil while it does not run
	done      chan error
	addresses map[string]string
}

var _ server.Server = (*Server)(nil)

// New makes a proxy that Start starts.
func New(opts ...server.Option) *Server {
	s := &Server{}
	s.options.Context = context.Background()
	s.options.Metadata = map[string]string{}
	_ = s.Init(opts...)
	return s
}

// Init takes options; they are in force at the next Start.
func (s *Server) Init(opts ...server.Option) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range opts {
		o(&s.options)
	}
	return nil
}

// Options are the options as they are.
func (s *Server) Options() server.Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options
}

// Start binds the listeners, serves, and registers the app as soon as it is
// healthy. It returns when everything listens, or says what is wrong; then
// nothing is left running.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		return errors.New("server: is running")
	}
	n, serving, err := s.build()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.options.Context))
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	select {
	case s.addresses = <-serving:
		s.cancel, s.done = cancel, done
		return nil
	case err := <-done:
		cancel()
		return err
	}
}

func (s *Server) build() (*node.Node, <-chan map[string]string, error) {
	own, _ := s.options.Context.Value(settingsKey{}).(settings)
	c, err := s.config(own)
	if err != nil {
		return nil, nil, err
	}
	kinds := own.kinds
	if kinds == nil {
		kinds = builtin.Kinds()
	}
	serving := make(chan map[string]string, 1)
	o := node.Options{
		Kinds: kinds, Logger: own.logger, Version: version.String(),
		Serving: func(addresses map[string]string) { serving <- addresses },
	}
	// Go-Micro hands its default (mDNS) to every server; only a registry that
	// somebody chose goes before the configuration.
	if r := s.options.Registry; r != nil && r != registry.DefaultRegistry {
		o.Registry = r
	}
	n, err := node.New(c, o)
	return n, serving, err
}

// config is the configuration with Go-Micro's options over it: they are laid
// over the file as a file of their own, so that they are checked alike.
func (s *Server) config(own settings) (*config.Config, error) {
	base := conf.Node{}
	var err error
	switch {
	case own.yaml != nil:
		base, err = conf.Parse("configuration", own.yaml)
	case own.file != "":
		base, err = conf.Load(own.file)
	}
	if err != nil {
		return nil, err
	}
	over, err := s.overlay()
	if err != nil {
		return nil, err
	}
	c := config.Default()
	c.File = own.file
	return config.Decode(conf.Merge(base, over), c)
}

// overlay is what Go-Micro's options say, in the form of the file.
func (s *Server) overlay() (conf.Node, error) {
	o := s.options
	var text strings.Builder
	if o.Name != "" || o.Version != "" || o.Advertise != "" {
		text.WriteString("app: {")
		for _, field := range []struct{ key, value string }{{"name", o.Name}, {"version", o.Version}, {"advertise", o.Advertise}} {
			if field.value != "" {
				fmt.Fprintf(&text, "%s: %q, ", field.key, field.value)
			}
		}
		text.WriteString("}\n")
	}
	if o.Address != "" {
		fmt.Fprintf(&text, "listen: {inbound: %q}\n", o.Address)
	}
	if o.RegisterTTL > 0 {
		fmt.Fprintf(&text, "discovery: {registry: {ttl: %s}}\n", o.RegisterTTL.Round(time.Second))
	}
	return conf.Parse("options", []byte(text.String()))
}

// Stop deregisters the app, waits until callers have learned of it, lets
// requests in flight end, and returns when nothing is left running. Without
// Start it does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel == nil {
		return nil
	}
	s.cancel()
	s.cancel = nil
	return <-s.done
}

// Address is where the listener of a configuration key, such as
// listen.outbound, has been bound; empty where it is off, and before Start.
func (s *Server) Address(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses[key]
}

// String is the kind of this server.
func (s *Server) String() string { return "outrigger" }
