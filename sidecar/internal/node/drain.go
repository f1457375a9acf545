package node

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/proxy"
)

// deregisterTimeout bounds how long a registry may hold the end up.
const deregisterTimeout = 3 * time.Second

// serve runs a proxy on its listener; when it is to stop, it drains. leave, if
// any, comes first: what makes callers go elsewhere.
func (s *Node) serve(p *proxy.Server, ln net.Listener, leave func()) func(context.Context) error {
	return func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- p.Serve(ln) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		first := !s.draining.Swap(true)
		if leave != nil {
			leave()
		}
		s.drainAll()
		if leave != nil || first { // outbound alone: nobody has been waited for yet
			pause(s.config.Drain.Delay)
		}
		end, cancel := context.WithTimeout(context.Background(), s.config.Drain.Timeout)
		defer cancel()
		err := p.Shutdown(end)
		var aborted *proxy.AbortedError
		if errors.As(err, &aborted) {
			s.o.Logger.Warn("drain cut short", "listener", aborted.Listener, "connections", aborted.Connections, "after", s.config.Drain.Timeout)
			err = nil
		}
		return errors.Join(err, <-failed)
	}
}

// drainAll has every listener tell its clients, with each response, that the
// connection ends: outbound too, so that the app's connections are gone by the
// time that it is their turn.
func (s *Node) drainAll() {
	for _, p := range s.proxies {
		p.Drain()
	}
}

// leave makes the mesh send no new requests here: readiness goes, and the app
// is deregistered. It may be called more than once.
func (s *Node) leave() {
	s.draining.Store(true)
	if s.registrar == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), deregisterTimeout)
	defer cancel()
	if err := s.registrar.Deregister(ctx); err != nil {
		s.o.Logger.Warn("not deregistered: callers find out when the registration's time is over", "error", err)
	}
}

func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
