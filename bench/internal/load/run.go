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
	if spec.Mode == Idle {
		return Result{}, errors.New("load: the mode idle is Hold's")
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

// Hold opens connections one after the other, each with one request, and holds
// them: ready is called when all are open, and release is waited for after it.
// lost is how many the server has closed meanwhile.
func Hold(ctx context.Context, spec Spec, ready func() error, release <-chan struct{}) (lost int, err error) {
	if err := spec.Validate(); err != nil {
		return 0, err
	}
	defer ownThread()()
	wanted := spec.Connections
	spec.Connections = 1
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	}()
	for i := range wanted {
		// A loop of one connection and one request: it ends after the first
		// response, since no time is given to it.
		l, err := newLoop(spec)
		if err != nil {
			return 0, fmt.Errorf("idle connection %d of %d: %w", i+1, wanted, err)
		}
		_, err = l.closedLoop(ctx, 0)
		if err == nil && l.done != 1 {
			err = fmt.Errorf("%v", slices.Concat(l.first, []string{"no response"})[0])
		}
		if err != nil {
			l.close()
			return 0, fmt.Errorf("idle connection %d of %d: %w", i+1, wanted, err)
		}
		fds = append(fds, l.conns[0].fd)
		l.poll.close() // the loop's buffers go, the socket stays
	}
	if err := ready(); err != nil {
		return 0, err
	}
	select {
	case <-release:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	for _, fd := range fds {
		if !open(fd) {
			lost++
		}
	}
	return lost, nil
}

// open tells whether the other side has not closed the connection.
func open(fd int) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return errors.Is(err, syscall.EAGAIN)
}
