package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/hdr"
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

// Run does what the spec says, for the closed and the open loop. Errors of
// single requests are counted in the result; the error is of what kept it from
// measuring at all.
func Run(ctx context.Context, spec Spec) (Result, error) {
	if err := spec.Validate(); err != nil {
		return Result{}, err
	}
	if spec.Mode == Idle || spec.Mode == Pending {
		return Result{}, fmt.Errorf("load: the mode %s is Hold's", spec.Mode)
	}
	defer ownThread()()
	l, err := newLoop(spec)
	if err != nil {
		return Result{}, err
	}
	defer l.close()
	run := func(d time.Duration) (elapsed time.Duration, unsent int, err error) {
		if spec.Mode == Open {
			return l.openLoop(ctx, d)
		}
		elapsed, err = l.closedLoop(ctx, d)
		return elapsed, 0, err
	}
	if spec.Warmup > 0 {
		if _, _, err := run(spec.Warmup); err != nil {
			return Result{}, err
		}
		l.reset()
	}
	before, err := takeUsage(spec)
	if err != nil {
		return Result{}, err
	}
	elapsed, unsent, err := run(spec.Duration)
	if err != nil {
		return Result{}, err
	}
	after, err := takeUsage(spec)
	if err != nil {
		return Result{}, err
	}
	r := Result{
		Requests: l.done, Elapsed: elapsed, Latency: latency(l.hist), Unsent: unsent, Errors: l.errors, First: l.first,
		CPU: after.peer - before.peer, Ticks: after.ticks - before.ticks, Own: after.own - before.own,
	}
	ours := r.CPU + r.Own + after.known - before.known
	all := after.at.Sub(before.at) * time.Duration(runtime.NumCPU())
	r.Others = max(0, float64(after.busy-before.busy-ours)/float64(all))
	if r.Requests == 0 && r.Errors == 0 {
		r.Errors, r.First = 1, []string{"not one response"}
	}
	return r, nil
}

func latency(h *hdr.Histogram) Latency {
	return Latency{P50: h.Quantile(0.5), P99: h.Quantile(0.99), P999: h.Quantile(0.999), Max: h.Max()}
}

// usage is processor time at one moment.
type usage struct {
	at                            time.Time
	peer, ticks, own, known, busy time.Duration
}

func takeUsage(spec Spec) (usage, error) {
	u := usage{at: time.Now()}
	var err error
	for _, part := range []struct {
		to  *time.Duration
		get func() (time.Duration, error)
	}{
		{&u.busy, procfs.Busy},
		{&u.known, func() (time.Duration, error) { return procfs.CPUOf(spec.Known) }},
		{&u.ticks, func() (time.Duration, error) { return procfs.Ticks(spec.PIDs) }},
		{&u.own, func() (time.Duration, error) { return procfs.CPU(os.Getpid()) }},
		{&u.peer, func() (time.Duration, error) { return procfs.CPUOf(spec.PIDs) }},
	} {
		if *part.to, err = part.get(); err != nil {
			return usage{}, fmt.Errorf("reading processor time (has a process ended?): %w", err)
		}
	}
	return u, nil
}

// Hold opens connections one after the other, each with one request, or in the
// mode pending with as many as Streams says, and holds them: ready is called when
// all are open, and release is waited for after it. lost is how many the server
// has closed meanwhile, or has answered although nobody was to.
func Hold(ctx context.Context, spec Spec, ready func() error, release <-chan struct{}) (lost int, err error) {
	if err := spec.Validate(); err != nil {
		return 0, err
	}
	defer ownThread()()
	wanted := spec.Connections
	spec.Connections = 1
	var held []*conn
	defer func() {
		for _, c := range held {
			_ = syscall.Close(c.fd)
		}
	}()
	for i := range wanted {
		c, err := hold(ctx, spec)
		if err != nil {
			return 0, fmt.Errorf("idle connection %d of %d: %w", i+1, wanted, err)
		}
		held = append(held, c)
	}
	if err := ready(); err != nil {
		return 0, err
	}
	select {
	case <-release:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	buf := make([]byte, 64<<10)
	for _, c := range held {
		if !c.open(buf) {
			lost++
		}
	}
	return lost, nil
}

// hold opens a connection and sends its requests.
func hold(ctx context.Context, spec Spec) (*conn, error) {
	l, err := newLoop(spec)
	if err != nil {
		return nil, err
	}
	if spec.Mode == Pending {
		err = l.sendAll(ctx)
	} else if _, err = l.closedLoop(ctx, 0); err == nil && l.done != spec.slots() {
		// No time is given to it: it ends after the first responses.
		err = fmt.Errorf("%v", slices.Concat(l.first, []string{"no response"})[0])
	}
	if err != nil {
		l.close()
		return nil, err
	}
	l.poll.close() // the loop's buffers go, the connection stays
	return &l.conns[0], nil
}

// open tells whether the other side has neither closed the connection nor
// answered.
func (c *conn) open(buf []byte) bool {
	if c.link != nil {
		if err := c.link.fill(); err != nil && !errors.Is(err, syscall.EAGAIN) {
			return false
		}
	}
	n, err := c.read(buf)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return true
	case err != nil || c.h2 == nil:
		return false
	}
	answered := false
	_, err = c.h2.feed(nil, buf[:n], func(int, error) { answered = true })
	return err == nil && !answered
}
