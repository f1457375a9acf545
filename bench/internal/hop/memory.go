package hop

import (
	"context"
	"fmt"
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

// memory measures each peer's memory: what those that ran have now, and, with
// a fresh start of each, idle and with idle connections. The start is fresh
// because memory that a run has left behind would be used again, and hide
// what connections take.
func (b *bench) memory(ctx context.Context) error {
	after := make([]*procfs.Memory, len(b.peers))
	if b.o.measures(Throughput) || b.o.measures(Latency) {
		for i, p := range b.running {
			if p == nil {
				continue
			}
			m, err := p.Memory()
			if err != nil {
				b.fail("memory after the run: %v", err)
				continue
			}
			after[i] = &m
		}
	}
	for i, p := range b.peers {
		if b.running[i] == nil {
			continue // it does not start
		}
		b.progress.step(memoryTime, "memory", p.Name)
		if err := b.running[i].Stop(); err != nil {
			return err
		}
		m, err := b.fresh(ctx, p)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.fail("memory of %s: %v", p.Name, err)
			continue
		}
		m.After = after[i]
		b.report.Memory = append(b.report.Memory, *m)
	}
	return nil
}

// fresh measures a peer that it starts and stops.
func (b *bench) fresh(ctx context.Context, p peer.Peer) (m *MemoryReport, err error) {
	proc, err := b.launch(ctx, p, p.Name+"-memory", b.backend.Site.Listen)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := proc.Stop(); err == nil {
			err = stopErr
		}
	}()
	m = &MemoryReport{Peer: p.Name, Connections: b.idle}
	var idleSettled, heldSettled bool
	spec := load.Spec{Mode: load.Idle, Address: proc.Site.Listen, Request: Cases()[0].Request, Connections: warmUp}
	// What the first requests bring into memory, code above all, is not what
	// connections cost.
	if err := holdWhile(ctx, b.o.Self, spec, func() error { return nil }); err != nil {
		return nil, err
	}
	if m.Idle, idleSettled, err = b.settle(ctx, proc); err != nil {
		return nil, err
	}
	spec.Connections = b.idle
	err = holdWhile(ctx, b.o.Self, spec, func() (err error) {
		m.Held, heldSettled, err = b.settle(ctx, proc)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.Settled = idleSettled && heldSettled
	m.PerConnection = float64(m.Held.RSS-m.Idle.RSS) / float64(b.idle)
	m.PerConnectionPSS = float64(m.Held.PSS-m.Idle.PSS) / float64(b.idle)
	if !m.Settled {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("The memory of %s had not come to rest after %d looks.", p.Name, settleMost))
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
