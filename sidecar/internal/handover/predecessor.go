package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// stateTimeout is how long a predecessor may take to say what it is.
const stateTimeout = 10 * time.Second

// Predecessor is the process whose place this one takes.
type Predecessor struct {
	State
	Listeners []net.Listener // State.Sockets, in their order

	line *line
}

// Inherit is the predecessor that the environment tells of; nil if this process
// was started by nobody else's wish.
func Inherit(getenv func(string) string) (*Predecessor, error) {
	text := getenv(Environment)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < firstFD {
		return nil, fmt.Errorf("%s: %.20q is not a descriptor: the variable is set by a sidecar that is being upgraded, and by nobody else", Environment, text)
	}
	return inherit(fd)
}

func inherit(fd int) (*Predecessor, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "handover")
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: descriptor %d is no socket: %w", Environment, fd, err)
	}
	p := &Predecessor{line: newLine(conn)}
	_ = conn.SetReadDeadline(time.Now().Add(stateTimeout))
	var m message
	if err := p.line.receive(&m); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: the process to take over from does not say what it is: %w", Environment, err), conn.Close())
	}
	if m.Is != isState || m.State == nil {
		return nil, errors.Join(fmt.Errorf("%s: the process to take over from said %.20q, not what it is", Environment, m.Is), conn.Close())
	}
	p.State = *m.State
	var errs []error
	for i, s := range p.Sockets {
		fd := fd + 1 + i
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), s.Name)
		ln, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: descriptor %d (%s) is not a listening socket: %w", Environment, fd, s.Name, err))
			continue
		}
		p.Listeners = append(p.Listeners, ln)
	}
	if err := errors.Join(errs...); err != nil {
		for _, ln := range p.Listeners {
			_ = ln.Close()
		}
		p.Failed(err)
		return nil, err
	}
	return p, nil
}

// Check refuses a configuration by which the mesh would know this process as
// another one than its predecessor: that one's registration would stay behind.
func (p *Predecessor) Check(identity map[string]string) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(identity)) {
		if was := p.Identity[key]; was != identity[key] {
			errs = append(errs, fmt.Errorf("%s was %q and is %q: that cannot be upgraded, it needs a restart", key, was, identity[key]))
		}
	}
	return errors.Join(errs...)
}

// Waiting tells the predecessor, for people, what this process waits for.
func (p *Predecessor) Waiting(what string) { _ = p.line.send(message{Is: isWaiting, Text: what}) }

// AwaitTake says that this process is ready and waits until it may take over.
// A predecessor that is gone has no say: its place is free.
func (p *Predecessor) AwaitTake(ctx context.Context) error {
	if err := p.line.send(message{Is: isReady}); err != nil {
		return nil // it is gone
	}
	defer p.line.interrupt(ctx.Done())()
	var m message
	err := p.line.receive(&m)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return nil
	case err != nil:
		return fmt.Errorf("the process to take over from cannot be understood: %w", err)
	case m.Is != isTake:
		return fmt.Errorf("the process to take over from said %.20q where %q was expected", m.Is, isTake)
	}
	return nil
}

// Taken says that this process has taken over, and ends the talk.
func (p *Predecessor) Taken() {
	_ = p.line.send(message{Is: isTaken}) // if it is gone, nobody has to know
	_ = p.line.conn.Close()
}

// Failed says why this process cannot take over, and ends the talk.
func (p *Predecessor) Failed(err error) {
	_ = p.line.send(message{Is: isFailed, Text: err.Error()})
	_ = p.line.conn.Close()
}
