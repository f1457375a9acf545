// Package run is the outermost layer of a program: the group of long-lived
// parts that it consists of, the signals that end it, the exit code that it
// leaves and the logger that it writes to.
//
// A part is a function that blocks until its context ends and leaves no
// goroutine behind. Parts are added in the order of their dependence, an
// earlier one not needing a later one; they are stopped in reverse.
package run

import (
	"context"
	"errors"
	"fmt"
)

// Group is the parts of a program. The zero Group is ready; it is not safe
// for concurrent use, and is run once.
type Group struct{ parts []part }

type part struct {
	name string
	run  func(ctx context.Context) error
}

// Add adds a part. Its name is put before its error.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// Run starts all parts and blocks until all have returned. When ctx ends or
// the first part returns, with an error or without, the parts are stopped
// from the last added to the first: each one's context is cancelled, and it
// has returned before the one before it is told.
//
// The errors of all parts are joined, each with its part's name. That a part
// which was told to stop returns context.Canceled is not an error.
func (g *Group) Run(ctx context.Context) error {
	// A part's context ends when it is the part's turn, not when ctx does.
	base := context.WithoutCancel(ctx)
	running := make([]*runningPart, len(g.parts))
	returned := make(chan struct{}, len(g.parts))
	for i, p := range g.parts {
		partCtx, cancel := context.WithCancelCause(base)
		r := &runningPart{cancel: cancel, done: make(chan struct{})}
		running[i] = r
		go func() {
			defer func() { close(r.done); returned <- struct{}{} }()
			r.err = p.run(partCtx)
			// Canceled of its own accord, say by a peer, is a failure.
			if partCtx.Err() != nil && errors.Is(r.err, context.Canceled) {
				r.err = nil
			}
		}()
	}
	if len(running) > 0 {
		select {
		case <-ctx.Done():
		case <-returned:
		}
	}
	var errs []error
	for i := len(running) - 1; i >= 0; i-- {
		running[i].cancel(context.Cause(ctx))
		<-running[i].done
		if err := running[i].err; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.parts[i].name, err))
		}
	}
	return errors.Join(errs...)
}

type runningPart struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // read after done
}
