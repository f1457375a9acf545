package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Environment is the variable that tells a process which descriptor leads to
// its predecessor.
const Environment = "OUTRIGGER_HANDOVER_FD"

// Offer is what a successor is started with.
type Offer struct {
	Binary string   // its path
	Args   []string // without the program's name
	State  State
	Files  []*os.File // State.Sockets, in their order; they stay the caller's
	Stdout io.Writer
	Stderr io.Writer
}

// Successor is a process that is to take over. Kill or Keep must be called.
type Successor struct {
	cmd  *exec.Cmd
	line *line

	ended chan struct{} // closed when the process has
	err   error         // how; to be read once ended is closed

	mu      sync.Mutex
	waiting string // the last that it said it waits for
}

// Start starts the successor and tells it what it has to know.
func Start(o Offer) (*Successor, error) {
	syscall.ForkLock.RLock()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(pair[0])
		syscall.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "handover"), os.NewFile(uintptr(pair[1]), "handover")
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("use a socket pair: %w", err)
	}
	cmd := exec.Command(o.Binary, o.Args...) //nolint:noctx,gosec // it outlives us; who asks for it is us or root
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	cmd.ExtraFiles = append([]*os.File{theirs}, o.Files...)
	cmd.Env = environment(os.Environ())
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	s := &Successor{cmd: cmd, line: newLine(conn), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.err = cmd.Wait()
	}()
	if err := s.line.send(message{Is: isState, State: &o.State}); err != nil {
		return nil, errors.Join(s.explain(err), s.Kill())
	}
	return s, nil
}

// environment is ours without what was said to us alone.
func environment(env []string) []string {
	return append(slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == Environment || strings.HasPrefix(name, "LISTEN_")
	}), Environment+"="+strconv.Itoa(firstFD))
}

// firstFD is the first descriptor after the standard ones.
const firstFD = 3

// PID is the successor's.
func (s *Successor) PID() int { return s.cmd.Process.Pid }

// AwaitReady waits until the successor is ready to take over. The error says
// why it is not, as far as it has said so.
func (s *Successor) AwaitReady(ctx context.Context) error { return s.await(ctx, isReady) }

// Commit has the successor take over, and waits until it has.
func (s *Successor) Commit(ctx context.Context) error {
	if err := s.line.send(message{Is: isTake}); err != nil {
		return s.explain(err)
	}
	return s.await(ctx, isTaken)
}

func (s *Successor) await(ctx context.Context, what string) error {
	defer s.line.interrupt(ctx.Done())()
	for {
		var m message
		err := s.line.receive(&m)
		switch {
		case err != nil && ctx.Err() != nil:
			return s.late(ctx.Err())
		case err != nil:
			return s.explain(err)
		case m.Is == what:
			return nil
		case m.Is == isFailed:
			return fmt.Errorf("the new process: %s", m.Text)
		case m.Is == isWaiting:
			s.mu.Lock()
			s.waiting = m.Text
			s.mu.Unlock()
		default:
			return fmt.Errorf("the new process said %.20q where %q was expected: is %s a sidecar of a fitting version?", m.Is, what, s.cmd.Path)
		}
	}
}

// late is the error of a successor that takes too long.
func (s *Successor) late(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == "" {
		return fmt.Errorf("the new process has said nothing in time: %w: is %s a sidecar?", err, s.cmd.Path)
	}
	return fmt.Errorf("the new process was not ready in time: it waited for %s: %w", s.waiting, err)
}

// explain is the error of a successor that does not talk any more.
func (s *Successor) explain(err error) error {
	select {
	case <-s.ended:
	case <-closedSoon():
	}
	select {
	case <-s.ended:
		how := "ended with exit status 0"
		if s.err != nil {
			how = "ended: " + s.err.Error()
		}
		return fmt.Errorf("the new process %s before it had taken over: its log says why", how)
	default:
		return fmt.Errorf("the new process cannot be talked to: %w", err)
	}
}

// Kill ends the successor and returns when it has.
func (s *Successor) Kill() error {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.ended
	return s.line.conn.Close()
}

// Keep leaves the successor to itself. It is to be called after Commit.
func (s *Successor) Keep() error { return s.line.conn.Close() }
