package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/registry/mesh"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/handover"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/systemd"
)

// upgradeSocket is the name of the socket on which upgrades are asked for.
const upgradeSocket = "upgrade"

// commitTimeout is how long a successor that was ready may take to listen and
// register.
const commitTimeout = 10 * time.Second

// bindUpgrade binds the socket on which upgrades are asked for.
func (s *Node) bindUpgrade(given *sockets) error {
	path := s.config.Load().UpgradeSocket()
	if path == "" {
		return nil
	}
	if ln, ok := given.named(upgradeSocket, path).(*net.UnixListener); ok {
		ln.SetUnlinkOnClose(true)
		s.upgrades = ln
		return nil
	}
	ln, err := handover.Listen(path)
	s.upgrades = ln
	return err
}

// runUpgrade hears requests for an upgrade until ctx ends. It begins when this
// process serves: until then its predecessor hears them.
func (s *Node) runUpgrade(ctx context.Context) error {
	select {
	case <-s.opened:
	case <-ctx.Done():
		if s.o.Predecessor != nil {
			s.upgrades.SetUnlinkOnClose(false) // it is still the other's
		}
		return s.upgrades.Close()
	}
	err := handover.Serve(ctx, s.upgrades, s.upgrade)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// upgrade gives this process's place to a new one.
func (s *Node) upgrade(ctx context.Context, r handover.Request) handover.Result {
	pid, err := s.handOver(ctx, r.Binary)
	if err != nil {
		s.component("upgrade").Warn("upgrade failed, this process goes on", "binary", r.Binary, "error", err)
		return handover.Result{OldPID: os.Getpid(), Error: err.Error()}
	}
	return handover.Result{OldPID: os.Getpid(), NewPID: pid}
}

func (s *Node) handOver(ctx context.Context, binary string) (pid int, err error) {
	log := s.component("upgrade")
	switch {
	case os.Getpid() == 1:
		return 0, errors.New("this process is the first of its container (pid 1), and the container ends with it: replace the container")
	case s.draining.Load():
		return 0, errors.New("this process is draining: start a new one")
	case !s.changing.TryLock():
		return 0, errors.New("another upgrade, or a reload, is under way: try again")
	}
	defer s.changing.Unlock()
	state, files, err := s.offer()
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	log.Info("starting a new process", "binary", binary)
	next, err := handover.Start(handover.Offer{
		Binary: binary, Args: s.o.Args, State: state, Files: files, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		return 0, err
	}
	limit, cancel := context.WithTimeoutCause(ctx, s.config.Load().Upgrade.Timeout, errors.New("upgrade.timeout is over"))
	err = next.AwaitReady(limit)
	cancel()
	if err != nil {
		return 0, errors.Join(err, next.Kill())
	}
	if err := s.commit(ctx, next); err != nil {
		return 0, err
	}
	log.Info("another process has taken over", "pid", next.PID())
	s.notify(systemd.MainPID(next.PID()))
	// From here on requests for an upgrade are the new one's. The path stays.
	s.upgrades.SetUnlinkOnClose(false)
	_ = s.upgrades.Close()
	close(s.handed)
	return next.PID(), next.Keep()
}

// commit is the part that cannot be broken off. If the successor fails in it,
// this process takes its place in the mesh back.
func (s *Node) commit(ctx context.Context, next *handover.Successor) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	err := s.member.release(ctx)
	if err == nil {
		err = next.Commit(ctx)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, next.Kill())
	back, cancelBack := context.WithTimeout(context.WithoutCancel(ctx), deregisterTimeout)
	defer cancelBack()
	if taken := s.member.take(back, true); taken != nil && !errors.Is(taken, mesh.ErrPending) {
		err = errors.Join(err, fmt.Errorf("this process is not registered again: %w", taken))
	}
	return err
}

// offer is what a successor gets.
func (s *Node) offer() (state handover.State, files []*os.File, err error) {
	c := s.config.Load()
	state = handover.State{
		PID: os.Getpid(), Version: s.o.Version, Identity: c.Identity(),
		Services: s.directory.known(), Registered: s.member.registered(),
	}
	if name := s.gateway.listener(); name != "" && s.gateway.table.Load() != nil {
		state.Services = append(state.Services, name)
	}
	add := func(name, address string, ln net.Listener) error {
		l, ok := ln.(syscall.Conn)
		if !ok {
			return fmt.Errorf("%s: the listener cannot be handed over", name)
		}
		f, err := duplicate(l, name)
		if err != nil {
			return fmt.Errorf("%s: the listener cannot be handed over: %w", name, err)
		}
		state.Sockets = append(state.Sockets, handover.SocketInfo{Name: name, Address: address})
		files = append(files, f)
		return nil
	}
	errs := []error{add(upgradeSocket, c.UpgradeSocket(), s.upgrades)}
	for _, d := range s.doors.list() {
		errs = append(errs, add(d.name(), d.address, d.ln))
	}
	return state, files, errors.Join(errs...)
}

// succeed takes over from the predecessor, once this process can do all that it
// could, or at once if the predecessor is gone: then whatever this process can
// do is better than ports that nobody serves.
func (s *Node) succeed(ctx context.Context) error {
	p := s.o.Predecessor
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	if err := p.AwaitTake(ctx); err != nil {
		return err
	}
	s.open()
	register, cancel := context.WithTimeout(ctx, commitTimeout/2)
	defer cancel()
	switch err := s.member.take(register, false); {
	case errors.Is(err, mesh.ErrPending):
		s.component("upgrade").Warn("the control plane is away: the registration is made as soon as it is back", "error", err)
	case err != nil:
		return fmt.Errorf("the app cannot be registered: %w", err)
	}
	s.component("upgrade").Info("taken over", "from", p.PID, "version", p.Version)
	p.Taken()
	return nil
}

// warmUp is warm for as long as there is a predecessor.
func (s *Node) warmUp(ctx context.Context) error {
	p := s.o.Predecessor
	warming, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-p.Gone():
			stop()
		case <-warming.Done():
		}
	}()
	err := s.warm(warming)
	stop()
	<-over
	if err == nil || ctx.Err() != nil {
		return err
	}
	select {
	case <-p.Gone():
		s.component("upgrade").Warn("the process to take over from is gone: taking over without waiting any longer", "from", p.PID)
		return nil
	default:
		return err
	}
}

// warm waits until this process knows what its predecessor does: the services
// that the app calls, and that the app is healthy.
func (s *Node) warm(ctx context.Context) error {
	p := s.o.Predecessor
	if s.xds != nil {
		if err := s.directory.warm(ctx, p.Services, func(name string) {
			p.Waiting("the control plane to say what " + name + " is")
		}); err != nil {
			return err
		}
	}
	if name := s.gateway.listener(); slices.Contains(p.Services, name) {
		if err := s.until(ctx, "the control plane to say what "+name+" is", func() bool { return s.gateway.table.Load() != nil }); err != nil {
			return err
		}
	}
	if p.Registered && s.config.Load().App != nil {
		return s.until(ctx, "the app to be healthy by its health check", s.member.healthy)
	}
	return nil
}

// until waits for something, and says so.
func (s *Node) until(ctx context.Context, what string, ok func() bool) error {
	if ok() {
		return nil
	}
	s.o.Predecessor.Waiting(what)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// retreat ends this process's part: the other one listens, and is registered.
// What is under way here is finished.
func (s *Node) retreat() {
	c := s.config.Load()
	s.draining.Store(true)
	s.component("upgrade").Info("finishing what is under way", "connections", s.connections())
	s.shut(c, func(r role) bool { return !r.traffic() && r != roleOutbound })
	for _, d := range s.doors.list() {
		d.close() // the same sockets are open in the other process
		d.server.Drain()
	}
	if err := s.member.close(); err != nil {
		s.o.Logger.Warn("registration stream not closed in order", "error", err)
	}
	pause(c.Drain.Delay)
	s.shut(c, func(role) bool { return true })
	s.doors.leaving.Wait()
}

// notify tells the service manager, where there is one.
func (s *Node) notify(state string) {
	if s.o.Notify == nil {
		return
	}
	if err := s.o.Notify(state); err != nil {
		s.o.Logger.Warn("the service manager was not told", "state", state, "error", err)
	}
}
