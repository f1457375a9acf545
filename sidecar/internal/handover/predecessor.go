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
	said chan said     // what it says after its state, or why there is nothing; once
	gone chan struct{} // closed when its end of the line has ended
}

// said is what came on the line.
type said struct {
	message
	err error
}

// follow takes down what the predecessor says next. It has to be heard at any
// time: one that is killed while this process prepares says so by the end of the
// line alone.
func (p *Predecessor) follow() {
	p.said, p.gone = make(chan said, 1), make(chan struct{})
	_ = p.line.conn.SetReadDeadline(time.Time{})
	go func() { // until the line ends, at Taken and Failed at the latest
		var s said
		s.err = p.line.receive(&s.message)
		if ended(s.err) {
			close(p.gone)
		}
		p.said <- s
	}()
}

// ended reports whether an error of receive says that the other side is gone.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
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
	p.follow()
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

// Gone is closed when the predecessor has ended without having given its place:
// then nobody serves, and there is nothing to wait for.
func (p *Predecessor) Gone() <-chan struct{} { return p.gone }

// AwaitTake says that this process is ready and waits until it may take over.
// A predecessor that is gone has no say: its place is free.
func (p *Predecessor) AwaitTake(ctx context.Context) error {
	_ = p.line.send(message{Is: isReady}) // to one that is gone it fails, and that is what is said, too
	var s said
	select {
	case s = <-p.said:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case ended(s.err):
		return nil
	case s.err != nil:
		return fmt.Errorf("the process to take over from cannot be understood: %w", s.err)
	case s.Is != isTake:
		return fmt.Errorf("the process to take over from said %.20q where %q was expected", s.Is, isTake)
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
