package mesh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/registry/micro"
)

var (
	// ErrPending says that the control plane has not answered yet. The change
	// is kept and made as soon as it can be.
	ErrPending = errors.New("the control plane has not answered yet, the change is pending")
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("the registry is closed")
)

// RefusedError is a registration that the control plane does not accept. What
// was accepted before it stays.
type RefusedError struct {
	Reasons []string // each names the instance and field that it is about
}

// Options are a registry's settings. Dial.Server must be set, here or by
// Init(registry.Addrs(…)), before the first use.
type Options struct {
	Dial ads.DialOptions
	// Network and Node identify what this process registers. Node must be set
	// to register, and be unique in its network.
	Network string // empty: registry.DefaultNetwork
	Node    string
	Agent   string // the program and its version, for the control plane's logs
	// TTL is how long the registrations outlive a broken stream, where
	// Register does not say; at least a second. Zero: DefaultTTL.
	TTL time.Duration
	// Timeout bounds how long a method waits for the control plane. Zero:
	// DefaultTimeout.
	Timeout time.Duration
	Backoff ads.Backoff
	Logger  *slog.Logger // nil: nothing is logged
}

// The defaults of Options.
const (
	DefaultTTL     = 15 * time.Second
	DefaultTimeout = 2 * time.Second
)

// Registry is a Go-Micro registry. Its methods may be called from any
// goroutine. Close ends it.
type Registry struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	opts   Options
	micro  microregistry.Options
	closed bool
	cancel context.CancelFunc // ends the goroutines; nil before the first is started
	ctx    context.Context    // of the goroutines: Go-Micro's interface has no Run
	group  sync.WaitGroup
	writer *writer // nil before the first Register
	reader *reader // nil before the first look-up
}

var _ microregistry.Registry = (*Registry)(nil)

// New makes a registry. It does nothing before its first use.
func New(o Options) *Registry {
	if o.Network == "" {
		o.Network = registry.DefaultNetwork
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Registry{
		log:   log.With("component", "registry"),
		opts:  o,
		micro: microregistry.Options{Context: context.Background(), Timeout: o.Timeout},
	}
}

// Init takes Go-Micro's options: the first of Addrs is the control plane,
// Timeout bounds each wait, TLSConfig is used as it is, and Secure alone asks
// for TLS with the system's roots. They cannot be changed after the first use.
func (r *Registry) Init(opts ...microregistry.Option) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if len(opts) == 0 {
		return nil
	}
	if r.writer != nil || r.reader != nil {
		return errors.New("the registry is in use, its options cannot be changed")
	}
	for _, o := range opts {
		o(&r.micro)
	}
	if len(r.micro.Addrs) > 0 {
		r.opts.Dial.Server = r.micro.Addrs[0]
	}
	if r.micro.Timeout > 0 {
		r.opts.Timeout = r.micro.Timeout
	}
	if r.micro.TLSConfig != nil {
		r.opts.Dial.TLS = r.micro.TLSConfig
	} else if r.micro.Secure && r.opts.Dial.CAFile == "" {
		r.opts.Dial.TLS = systemTLS()
	}
	return nil
}

// Options are Go-Micro's options as they are in use.
func (r *Registry) Options() microregistry.Options {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.micro
	if r.opts.Dial.Server != "" {
		o.Addrs = []string{r.opts.Dial.Server}
	}
	return o
}

// String is the kind of this registry.
func (r *Registry) String() string { return "mesh" }

// Register makes the nodes of a service known to the mesh, or changes them.
// Nodes of the service that it does not name stay. The error wraps ErrPending
// while the control plane is away, and is a *RefusedError if it does not
// accept them; registering again is always safe.
func (r *Registry) Register(s *microregistry.Service, opts ...microregistry.RegisterOption) error {
	var o microregistry.RegisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	instances, err := r.instances(s)
	if err != nil {
		return err
	}
	w, err := r.openWriter()
	if err != nil {
		return err
	}
	return w.register(o.Context, instances, o.TTL)
}

// Deregister takes the nodes of a service out of the mesh, and returns once
// the control plane has confirmed it. While that is away, the error wraps
// ErrPending: the nodes are forgotten here, and there with the next stream or
// at the end of their TTL.
func (r *Registry) Deregister(s *microregistry.Service, opts ...microregistry.DeregisterOption) error {
	var o microregistry.DeregisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	instances, err := r.instances(s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	w, closed := r.writer, r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case w == nil: // nothing was ever registered
		return nil
	}
	return w.deregister(o.Context, instances)
}

// instances converts what is to be registered for this process's node.
func (r *Registry) instances(s *microregistry.Service) ([]registry.Instance, error) {
	r.mu.Lock()
	network, node := r.opts.Network, r.opts.Node
	r.mu.Unlock()
	if node == "" {
		return nil, errors.New("the registry has no node id and can only look up")
	}
	return nodeInstances(s, micro.Defaults{Network: network, Node: node})
}

// start runs f until Close; the lock is held.
func (r *Registry) start(f func(context.Context)) {
	if r.cancel == nil {
		r.ctx, r.cancel = context.WithCancel(context.Background())
	}
	ctx := r.ctx
	r.group.Go(func() { f(ctx) })
}

func (r *Registry) openWriter() (*writer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if r.writer == nil {
		if err := registry.CheckHostPort(r.opts.Dial.Server, false); err != nil {
			return nil, err
		}
		r.writer = newWriter(r.opts, r.log)
		r.start(r.writer.run)
	}
	return r.writer, nil
}

func (r *Registry) openReader() (*reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if r.reader == nil {
		if err := registry.CheckHostPort(r.opts.Dial.Server, false); err != nil {
			return nil, err
		}
		r.reader = newReader(r.opts, r.log)
		r.start(r.reader.run)
	}
	return r.reader, nil
}

// Close ends every goroutine and watcher. It does not deregister: what is
// still registered ends with its TTL, so that a process can be replaced.
func (r *Registry) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	cancel := r.cancel
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	r.group.Wait()
	return nil
}
