package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go-micro.dev/v4/registry"
)

// The back-off of failed calls to the registry: doubled from the first to the
// last, and spread between a half and the whole of it.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// finalTries is how often Deregister tries before it gives up.
const finalTries = 3

// never is a wait that only a nudge ends.
const never = time.Duration(1<<63 - 1)

// keep brings the registry to what the health asks for, until ctx ends.
func (r *Registrar) keep(ctx context.Context) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		timer.Reset(r.step(ctx))
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// step makes the one call that is due, if any, and returns how long to wait
// for the next.
func (r *Registrar) step(ctx context.Context) time.Duration {
	r.mu.Lock()
	want := r.health == Healthy
	held := r.held != nil
	confirmed := r.confirmed
	closed := r.closed
	r.mu.Unlock()

	var err error
	switch {
	case closed:
		return never // Deregister has taken over
	case want:
		if !confirmed.IsZero() {
			if r.opts.RenewEvery <= 0 {
				return never
			}
			if due := time.Until(confirmed.Add(r.opts.RenewEvery)); due > 0 {
				return due
			}
		}
		err = r.call(ctx, r.register)
	case held:
		err = r.call(ctx, r.deregister)
	default:
		return never
	}
	if ctx.Err() != nil {
		return never
	}
	failures := r.record(want, err)
	if err != nil {
		return backoff(failures)
	}
	r.nudge() // the wish may have changed meanwhile
	return never
}

// record keeps a call's outcome for Status, logs the first failure of a row
// and the success after it, and returns how many have failed in a row.
func (r *Registrar) record(want bool, err error) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.callErr = err
	if err == nil {
		r.failures = 0
		return 0
	}
	r.failures++
	if r.failures == 1 {
		op := "deregister"
		if want {
			op = "register"
		}
		r.log.Warn("the registry did not take the change, retrying", "op", op, "reason", err.Error())
	}
	return r.failures
}

// register tells the registry of the app. It runs in its turn.
func (r *Registrar) register(ctx context.Context) error {
	svc, err := r.opts.Service()
	if err != nil {
		return fmt.Errorf("what to register: %w", err)
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.held = svc // from here on the registry may know it, whatever is answered
	r.mu.Unlock()

	err = r.opts.Registry.Register(svc, registry.RegisterTTL(r.opts.TTL), registry.RegisterContext(ctx))
	r.metrics.called("register", err)

	r.mu.Lock()
	closed := r.closed
	if err == nil {
		if r.confirmed.IsZero() {
			r.log.Info("registered", "service", svc.Name)
		}
		r.confirmed = time.Now()
		r.metrics.setRegistered(true)
	}
	r.mu.Unlock()
	if closed {
		// Deregister gave up waiting for this very call: undo it here.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return errors.Join(err, r.deregister(undo))
	}
	if err != nil {
		return fmt.Errorf("register %s: %w", svc.Name, err)
	}
	return nil
}

// deregister takes back what the registry may know. It runs in its turn.
func (r *Registrar) deregister(ctx context.Context) error {
	r.mu.Lock()
	svc := r.held
	r.confirmed = time.Time{} // whatever comes of this, it is not certain any more
	r.mu.Unlock()
	if svc == nil {
		return nil
	}
	r.metrics.setRegistered(false)
	err := r.opts.Registry.Deregister(svc, registry.DeregisterContext(ctx))
	r.metrics.called("deregister", err)
	if err != nil {
		return fmt.Errorf("deregister %s: %w", svc.Name, err)
	}
	r.mu.Lock()
	r.held = nil
	r.mu.Unlock()
	r.log.Info("deregistered", "service", svc.Name)
	return nil
}

// Deregister takes the app out of the registry for good: after it, health
// changes never register again. It may be called several times, with or
// without Run running. It tries a few times and returns the last error; a
// registry that hangs holds it up until ctx ends, not longer.
func (r *Registrar) Deregister(ctx context.Context) error {
	if r.opts.Registry == nil {
		return nil
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.nudge()
	for try := 1; ; try++ {
		err := r.call(ctx, r.deregister)
		r.record(false, err)
		if err == nil || try == finalTries || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff(try)):
		}
	}
}

// call runs op when its turn comes and waits for it, but no longer than ctx
// and callTimeout. Implementations of the registry interface are not bound to
// heed their context, so op has a goroutine of its own; one that is given up
// keeps its turn until it returns.
func (r *Registrar) call(ctx context.Context, op func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		cancel()
		return fmt.Errorf("an earlier call to the registry has not returned: %w", ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		err := op(ctx)
		<-r.turn
		done <- err
		cancel()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it ended and cancelled, rather than being cancelled
		return err
	default:
		return fmt.Errorf("the registry does not answer: %w", ctx.Err())
	}
}

// backoff is how long to wait after failures failed calls in a row.
func backoff(failures int) time.Duration {
	d := lastBackoff
	if shift := failures - 1; shift < 6 {
		d = min(d, firstBackoff<<shift)
	}
	return spread(d, 0.5, 1)
}
