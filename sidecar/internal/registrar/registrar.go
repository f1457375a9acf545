// Package registrar watches the health of the app beside the sidecar and keeps
// the app's registration in step with it: registered while healthy,
// deregistered otherwise, and for good once Deregister was called.
//
// Two loops run inside Run. One probes and owns the health; the other talks to
// the registry, so that a registry that hangs never delays a probe. They meet
// in a few fields under one mutex; calls to the registry are made one at a
// time and never with that mutex held. An app that is not up is waited for: it
// is a state, not an error, and it is logged when it changes, not at each probe.
package registrar

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/registry"
)

// The defaults of Options.
const (
	DefaultInterval       = 2 * time.Second
	DefaultTimeout        = time.Second
	DefaultHealthyAfter   = 2
	DefaultUnhealthyAfter = 3
	DefaultTTL            = 15 * time.Second
)

// callTimeout bounds one call to the registry, whatever the caller's context
// says: a registry that hangs is as good as one that is away.
const callTimeout = 5 * time.Second

// Options is what a Registrar works with. Zero values take the defaults above.
type Options struct {
	// Probe asks the app once; nil means that it is healthy. See HTTP and TCP.
	Probe Probe
	// Interval is the time from the end of a probe to the next, give or take a
	// tenth, so that sidecars started together do not probe in step.
	Interval time.Duration
	// Timeout bounds one probe.
	Timeout time.Duration
	// HealthyAfter and UnhealthyAfter are how many probes in a row must agree
	// before the health changes.
	HealthyAfter, UnhealthyAfter int

	// Registry is where the app is registered. Nil: health is watched, nothing
	// is registered.
	Registry registry.Registry
	// Service builds what is registered. It is called at each registration,
	// when the listeners are bound and their ports known.
	Service func() (*registry.Service, error)
	// TTL is handed to Registry.Register.
	TTL time.Duration
	// RenewEvery repeats a standing registration, for registries that forget
	// it after its TTL or when their data was lost. Zero never repeats.
	RenewEvery time.Duration

	Logger  *slog.Logger          // nil: discarded
	Metrics prometheus.Registerer // nil: not collected
}

// Registrar is the app's health and registration. Its methods are safe for
// concurrent use.
type Registrar struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics

	// turn admits one call to the registry at a time. A call that outlived its
	// context keeps its turn until it really returns.
	turn chan struct{}
	wake chan struct{} // capacity 1: the wish may have changed

	mu      sync.Mutex
	health  Health
	since   time.Time // of health
	against int       // probes in a row that contradict health
	lastErr error     // of the last probe
	waited  bool      // it was logged that the app is waited for
	closed  bool      // Deregister was called: never register again
	// held is what the registry may know: set before a Register is sent,
	// cleared after a Deregister that succeeded.
	held      *registry.Service
	confirmed time.Time // of the last Register that succeeded; zero: not registered
	failures  int       // calls to the registry in a row that failed
	callErr   error     // of the last call to the registry
}

// New makes a Registrar; Run makes it work.
func New(o Options) *Registrar {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.HealthyAfter <= 0 {
		o.HealthyAfter = DefaultHealthyAfter
	}
	if o.UnhealthyAfter <= 0 {
		o.UnhealthyAfter = DefaultUnhealthyAfter
	}
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Probe == nil {
		o.Probe = func(context.Context) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{
		opts:    o,
		log:     o.Logger,
		metrics: newMetrics(o.Metrics),
		turn:    make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		health:  Waiting,
		since:   time.Now(),
	}
}

// Run watches and registers until ctx ends, then returns nil. It does not
// deregister: what ends the sidecar calls Deregister first, before it drains.
func (r *Registrar) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if r.opts.Registry != nil {
		wg.Go(func() { r.keep(ctx) })
	}
	r.watch(ctx)
	wg.Wait()
	return nil
}
