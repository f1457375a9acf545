package hop

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

const (
	settleEvery = 2 * time.Second
	settleSame  = 7         // looks in a row that have to agree: programs tidy up every few seconds
	settleMost  = 22        // looks in all: some never rest, and the last look counts then
	settleSlack = 128 << 10 // bytes by which looks may differ

	warmUp     = 8                // connections with a request before the first look
	memoryTime = 40 * time.Second // about what a peer takes
)

// What waits on a connection of HTTP/2 while its memory is measured: as many
// requests as most proxies let it have, and so many connections that a proxy with
// a connection to the backend for each request has as many as with idle ones.
const (
	pendingConnections = 100
	pendingStreams     = 100
)

// holding is one peer whose memory is measured in one setup.
type holding struct {
	peer  peer.Peer
	index int
	c     Case
}

// memories are those that are measured: with HTTP/1.1 and with HTTP/2, as far as
// the cases have them.
func (b *bench) memories() []holding {
	var all []holding
	for _, setup := range []peer.Setup{peer.HTTP1, peer.HTTP2} {
		n := slices.IndexFunc(b.cases, func(c Case) bool { return c.Setup == setup })
		if n < 0 {
			continue
		}
		for i, p := range b.peers {
			if b.o.takesPart(p, b.cases[n]) && !b.broken[string(setup)+p.Name] {
				all = append(all, holding{p, i, b.cases[n]})
			}
		}
	}
	return all
}

// readAfter reads the memory of the peers that run.
func (b *bench) readAfter() {
	for i, p := range b.running {
		if p == nil {
			continue
		}
		m, err := p.Memory()
		if err != nil {
			b.fail("memory after the run: %v", err)
			continue
		}
		b.after[i] = &m
	}
}

// memory measures each peer's memory: idle, and with connections on which nothing
// happens. The start is fresh because memory that a run has left behind would be
// used again, and hide what connections take.
func (b *bench) memory(ctx context.Context) error {
	for _, h := range b.memories() {
		b.progress.step(memoryTime, "memory of "+string(h.c.Setup), h.peer.Name)
		m, err := b.fresh(ctx, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.fail("memory of %s with %s: %v", h.peer.Name, h.c.Setup, err)
			continue
		}
		if h.c.Setup == peer.HTTP1 {
			m.After = b.after[h.index]
		}
		b.report.Memory = append(b.report.Memory, *m)
	}
	return nil
}

// fresh measures a peer that it starts and stops.
func (b *bench) fresh(ctx context.Context, h holding) (m *MemoryReport, err error) {
	s := b.site(h.c.Setup)
	m = &MemoryReport{Peer: h.peer.Name, Setup: h.c.Setup, Connections: b.idle}
	mode := load.Idle
	if h.c.Setup.HTTP2() {
		mode, s.Silent = load.Pending, true
		m.Connections, m.Streams = min(pendingConnections, max(1, b.idle/pendingStreams)), pendingStreams
		silent, err := b.launch(ctx, peer.BackendHTTP2(b.o.Self), "backend-silent", peer.Site{Silent: true})
		if err != nil {
			return nil, err
		}
		defer func() {
			if stopErr := silent.Stop(); err == nil {
				err = stopErr
			}
		}()
		s.Backend, s.BackendHTTP2 = silent.Site.Listen, silent.Site.Listen
	}
	proc, err := b.launch(ctx, h.peer, h.peer.Name+"-memory-"+string(h.c.Setup), s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := proc.Stop(); err == nil {
			err = stopErr
		}
	}()
	var idleSettled, heldSettled bool
	spec := h.c.spec(mode, proc.Site, 0)
	spec.Connections, spec.Streams = warmUp, 0
	// What the first requests bring into memory, code above all, is not what
	// connections cost.
	if err := holdWhile(ctx, b.o.Self, spec, func() error { return nil }); err != nil {
		return nil, err
	}
	if m.Idle, idleSettled, err = b.settle(ctx, proc); err != nil {
		return nil, err
	}
	spec.Connections, spec.Streams = m.Connections, m.Streams
	err = holdWhile(ctx, b.o.Self, spec, func() (err error) {
		m.Held, heldSettled, err = b.settle(ctx, proc)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.Settled = idleSettled && heldSettled
	m.PerConnection = float64(m.Held.RSS-m.Idle.RSS) / float64(m.Connections)
	m.PerConnectionPSS = float64(m.Held.PSS-m.Idle.PSS) / float64(m.Connections)
	if !m.Settled {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("The memory of %s with %s had not come to rest after %d looks.", h.peer.Name, h.c.Setup, settleMost))
	}
	return m, nil
}

// settle reads a peer's memory until it has come to rest.
func (b *bench) settle(ctx context.Context, p *peer.Process) (m procfs.Memory, settled bool, err error) {
	every := b.o.Settle
	if every == 0 {
		every = settleEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var first procfs.Memory
	for looks, same := 1, 0; ; looks++ {
		if m, err = p.Memory(); err != nil {
			return m, false, err
		}
		if same == 0 || max(m.RSS-first.RSS, first.RSS-m.RSS) > settleSlack {
			first, same = m, 1
		} else if same++; same == settleSame {
			return m, true, nil
		}
		if looks == settleMost {
			return m, false, nil
		}
		select {
		case <-ctx.Done():
			return m, false, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
