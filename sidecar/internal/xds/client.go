package xds

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/ads"
)

// Options are a client's settings. Dial.Server and Node.ID must be set.
type Options struct {
	Dial       ads.DialOptions
	Node       ads.Node
	Backoff    ads.Backoff
	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics; metrics of the same names there panic
	// WarmTimeout is how long new routes wait for their clusters and
	// endpoints. Zero: DefaultWarmTimeout.
	WarmTimeout time.Duration
	// MaxListeners bounds how many listeners are subscribed to. Zero:
	// DefaultMaxListeners.
	MaxListeners int
}

// The defaults of Options.
const (
	DefaultWarmTimeout  = 5 * time.Second
	DefaultMaxListeners = 4096
)

// resolveTimeout is how long a connected server may take to say anything of a
// listener before it counts as not there (the rule of gRPC and Envoy).
const resolveTimeout = 15 * time.Second

// Client keeps the subscriptions of one sidecar and feeds a Sink. Its methods
// may be called from any goroutine.
type Client struct {
	log     *slog.Logger
	ads     *ads.Client
	metrics *metrics
	jobs    chan job
	stopped chan struct{} // Run has ended, nobody takes jobs

	mu    sync.Mutex // guards graph; never held while waiting for anything but the sink
	graph *graph

	askMu sync.Mutex
	asked map[string]struct{} // listeners to subscribe to
	wake  chan struct{}       // says that asked grew; holds one
}

// job is an update on its way from the stream's goroutine to Run's.
type job struct {
	update ads.Update
	reply  chan []ads.Rejection // holds one
}

// New makes a client that feeds sink. It does nothing before Run.
func New(o Options, sink Sink) *Client {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if o.WarmTimeout <= 0 {
		o.WarmTimeout = DefaultWarmTimeout
	}
	if o.MaxListeners <= 0 {
		o.MaxListeners = DefaultMaxListeners
	}
	c := &Client{
		log:     log.With("component", "xds"),
		jobs:    make(chan job),
		stopped: make(chan struct{}),
		asked:   map[string]struct{}{},
		wake:    make(chan struct{}, 1),
	}
	c.ads = ads.New(ads.Options{
		Dial: o.Dial, Node: o.Node, Backoff: o.Backoff, Logger: log,
	}, ads.HandlerFunc(c.handle))
	c.graph = newGraph(sink, c.ads, limits{
		warm: o.WarmTimeout, resolve: resolveTimeout, listeners: o.MaxListeners,
	})
	c.metrics = newMetrics(o.Registerer, c)
	return c
}

// Subscribe asks for a listener, such as users.default:80 or
// gateway/default/entry/80. It does not block, and asking again costs next to
// nothing: it is to be called for each request to a listener without routes,
// since one that does not exist may be forgotten when there are too many.
func (c *Client) Subscribe(listener string) {
	c.askMu.Lock()
	if len(c.asked) < c.graph.limits.listeners { // what is left out is asked for again
		c.asked[listener] = struct{}{}
	}
	c.askMu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run keeps the stream and feeds the sink until ctx ends, and then returns
// nil. It is called once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = c.ads.Run(ctx) })
	c.loop(ctx)
	close(c.stopped)
	cancel()
	wg.Wait()
	return err
}

// handle brings an update to Run's goroutine.
func (c *Client) handle(u ads.Update) []ads.Rejection {
	j := job{update: u, reply: make(chan []ads.Rejection, 1)}
	select {
	case c.jobs <- j:
		return <-j.reply
	case <-c.stopped:
		return nil
	}
}

func (c *Client) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			c.subscribe()
		case <-timer.C:
			c.mu.Lock()
			c.graph.tick(time.Now())
			c.mu.Unlock()
		case j := <-c.jobs:
			j.reply <- c.update(j.update)
		}
		timer.Reset(c.next(time.Now()))
	}
}

func (c *Client) update(u ads.Update) []ads.Rejection {
	c.mu.Lock()
	defer c.mu.Unlock()
	rejections := c.graph.update(u, time.Now())
	c.metrics.update(u.Type, len(rejections))
	return rejections
}

func (c *Client) subscribe() {
	c.askMu.Lock()
	asked := c.asked
	c.asked = map[string]struct{}{}
	c.askMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range sorted(asked) {
		if !c.graph.subscribe(name, time.Now()) {
			c.log.Warn("listener is not subscribed to, there are too many", "listener", name,
				"limit", c.graph.limits.listeners)
			c.graph.sink.SetRoutes(name, nil)
		}
	}
}

// next is how long until something has waited long enough. What cannot be
// given up since the control plane is away is looked at each second.
func (c *Client) next(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := time.Hour
	for l := range c.graph.waiting {
		limit := c.graph.limits.resolve
		if l.stage == warming {
			limit = c.graph.limits.warm
		}
		if d := l.since.Add(limit).Sub(now); d > 0 {
			next = min(next, d)
		} else {
			next = min(next, time.Second)
		}
	}
	return next
}
