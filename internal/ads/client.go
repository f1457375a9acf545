package ads

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Client keeps one ADS stream. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	handler Handler
	log     *slog.Logger
	subs    subscriptions
	state   state
	wake    chan struct{} // says that subs changed; holds one
}

// New makes a client that gives what it receives to h. It does nothing before
// Run.
func New(o Options, h Handler) *Client {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		opts:    o,
		handler: h,
		log:     log.With("server", o.Dial.Server),
		wake:    make(chan struct{}, 1),
	}
}

// Subscribe asks for the named resources of a type, Wildcard for all of them.
// It does not block, and names already subscribed to cost nothing.
func (c *Client) Subscribe(typeURL string, names ...string) {
	if c.subs.add(typeURL, names) {
		c.poke()
	}
}

// Unsubscribe gives resources up: none of them is handed on any more. Asking
// for one again has it sent again, whatever its version.
func (c *Client) Unsubscribe(typeURL string, names ...string) {
	if c.subs.remove(typeURL, names) {
		c.poke()
	}
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default: // it is awake already, and will see this change too
	}
}

// Connected reports whether a stream stands, and since when it does or not.
func (c *Client) Connected() (bool, time.Time) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return c.state.s.Connected, c.state.s.Since
}

// Status says how the client is.
func (c *Client) Status() Status {
	s := c.state.status()
	s.Server = c.opts.Dial.Server
	s.Types = c.subs.counts()
	return s
}

// Run keeps a stream until ctx ends, and then returns nil. A stream that
// breaks or cannot be had is retried for ever, with back-off.
func (c *Client) Run(ctx context.Context) error {
	c.state.disconnected(time.Now(), nil)
	ping := keepaliveTime
	for failures := 0; ; {
		heard, err := c.session(ctx, ping)
		c.state.disconnected(time.Now(), err)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the stream ended because it was to
		}
		if heard {
			failures = 0
		}
		failures++
		if tooManyPings(err) {
			ping = min(2*ping, keepaliveMax)
		}
		delay := c.opts.Backoff.Delay(failures)
		// A control plane that stays away is told of once, then at times.
		if failures == 1 || failures%20 == 0 {
			c.log.Warn("no stream to the control plane", "error", err, "attempts", failures, "retry_in", delay.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// session is one connection and its stream. It reports whether the server was
// heard.
func (c *Client) session(ctx context.Context, ping time.Duration) (heard bool, err error) {
	conn, err := dial(c.opts.Dial, ping)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	s, err := c.openDelta(ctx, conn)
	if err != nil {
		return false, fmt.Errorf("open a stream to %s: %w", c.opts.Dial.Server, err)
	}
	defer s.close()
	c.state.connected(time.Now())
	c.log.Info("stream to the control plane stands")
	err = s.run(ctx)
	return s.heard, err
}

// tooManyPings reports whether a server that does not permit our keepalive
// has thrown us out (gRPC proposal A8: ENHANCE_YOUR_CALM).
func tooManyPings(err error) bool {
	return err != nil && strings.Contains(err.Error(), "too_many_pings")
}
