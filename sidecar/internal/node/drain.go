package node

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/proxy"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/systemd"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/tcp"
)

const (
	// deregisterTimeout bounds how long a registry may hold the end up.
	deregisterTimeout = 3 * time.Second
	// appEvery is how often it is looked whether the app is gone.
	appEvery = 100 * time.Millisecond
)

// end takes the sidecar out of the mesh, in this order: readiness goes and the
// app is deregistered; requests are still taken while callers learn of it;
// nothing comes in any more, and what has is finished; the app's own requests
// are taken until the app is gone; then they are finished too.
func (s *Node) end() {
	c := s.config.Load()
	log := s.component("drain")
	s.draining.Store(true)
	s.notify(systemd.Stopping)
	log.Info("draining", "connections", s.connections())
	s.leave()
	for _, d := range s.doors.list() {
		// Outbound too: the app's connections are then gone by the time that it
		// is their turn.
		d.server.Drain()
	}
	pause(c.Drain.Delay)
	s.shut(c, role.traffic)
	log.Info("nothing comes in any more")
	if out := s.doors.of(isOutbound); len(out) > 0 && c.App != nil {
		if appGone(c) {
			log.Info("the app is gone")
		} else {
			log.Info("the app is still there", "waited", c.Drain.App.String())
		}
	}
	s.shut(c, isOutbound)
	log.Info("nothing goes out any more")
	s.doors.leaving.Wait()
	s.shut(c, func(r role) bool { return !r.traffic() && r != roleOutbound })
}

func isOutbound(r role) bool { return r == roleOutbound }

func (s *Node) connections() int {
	n := 0
	for _, d := range s.doors.list() {
		n += d.server.Connections()
	}
	return n
}

// shut closes the doors of some roles, all at the same time, as soon as what is
// under way there has ended, or its time is over.
func (s *Node) shut(c *config.Config, which func(role) bool) {
	var wg sync.WaitGroup
	for _, d := range s.doors.of(which) {
		wg.Go(func() { s.shutOne(c, d) })
	}
	wg.Wait()
}

func (s *Node) shutOne(c *config.Config, d *door) {
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain.Timeout)
	defer cancel()
	err := d.shut(ctx)
	var http *proxy.AbortedError
	var bytes *tcp.AbortedError
	short := func(connections int) {
		s.o.Logger.Warn("drain cut short", "listener", d.name(), "connections", connections, "after", c.Drain.Timeout.String())
	}
	switch {
	case errors.As(err, &http):
		short(http.Connections)
	case errors.As(err, &bytes):
		short(bytes.Connections)
	case err != nil:
		s.o.Logger.Warn("listener not closed in order", "listener", d.name(), "error", err)
	}
}

// retire drains doors that are not in force any more, beside the others: they
// take requests for as long as callers need to learn of it.
func (s *Node) retire(gone []*door, then func()) {
	c := s.config.Load()
	var wg sync.WaitGroup
	for _, d := range gone {
		d.server.Drain()
		wg.Go(func() {
			pause(c.Drain.Delay)
			s.shutOne(c, d)
			s.o.Logger.Info("listener closed", "listener", d.name(), "address", d.ln.Addr().String())
		})
	}
	s.doors.leaving.Go(func() {
		wg.Wait()
		then()
	})
}

// appGone waits until nobody listens on the app's ports any more, and reports
// whether that came before the time was over.
func appGone(c *config.Config) bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain.App)
	defer cancel()
	tick := time.NewTicker(appEvery)
	defer tick.Stop()
	for {
		gone := !slices.ContainsFunc(c.Ports(), func(p config.Port) bool {
			nc, err := new(net.Dialer).DialContext(ctx, "tcp", p.Address)
			if err == nil {
				_ = nc.Close()
			}
			return !errors.Is(err, syscall.ECONNREFUSED)
		})
		if gone {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// leave makes the mesh send no new requests here: readiness goes, and the app
// is deregistered. It may be called more than once.
func (s *Node) leave() {
	s.draining.Store(true)
	if s.config.Load().App == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deregisterTimeout)
	defer cancel()
	if err := s.member.leave(ctx); err != nil {
		s.o.Logger.Warn("not deregistered: callers find out when the registration's time is over", "error", err)
	}
}

func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
