package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/hdr"
)

// drainLimit is how long the last responses may take.
const drainLimit = 5 * time.Second

// keptErrors is how many errors are told; all are counted.
const keptErrors = 5

// loop drives the connections. It is one goroutine's alone.
type loop struct {
	spec    Spec
	request []byte
	conns   []conn
	free    queue
	busy    int
	alive   int
	poll    *poller
	buf     []byte
	start   time.Time // the zero of the clock

	hist   *hdr.Histogram
	done   int
	errors int
	first  []string
	last   int64 // when the last response was complete
}

func newLoop(spec Spec) (*loop, error) {
	address, err := netip.ParseAddrPort(spec.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("load: address must be IPv4 and a port, such as 127.0.0.1:8080, is %q", spec.Address)
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{spec: spec, request: spec.Request.bytes(), poll: poll, buf: make([]byte, 256<<10), free: newQueue(spec.Connections), start: time.Now(), hist: new(hdr.Histogram)}
	for i := range spec.Connections {
		fd, err := dial(address)
		if err == nil {
			l.conns = append(l.conns, conn{fd: fd})
			l.alive++
			err = poll.add(fd, i)
		}
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, spec.Connections, err)
		}
		l.free.push(i)
	}
	return l, nil
}

func (l *loop) close() {
	for i := range l.conns {
		if l.conns[i].fd >= 0 {
			_ = syscall.Close(l.conns[i].fd)
		}
	}
	l.poll.close()
}

func (l *loop) now() int64 { return int64(time.Since(l.start)) }

// reset forgets what was counted, not what failed.
func (l *loop) reset() { l.hist, l.done = new(hdr.Histogram), 0 }

// fail counts an error; one of the connection itself closes it.
func (l *loop) fail(i int, err error, ofConnection bool) {
	l.errors++
	if len(l.first) < keptErrors {
		l.first = append(l.first, err.Error())
	}
	if !ofConnection {
		return
	}
	c := &l.conns[i]
	if c.waiting {
		l.busy--
	}
	_ = syscall.Close(c.fd)
	c.fd, c.waiting = -1, false
	l.alive--
}

// send sends the request over a connection.
func (l *loop) send(i int, due int64) {
	c := &l.conns[i]
	c.due, c.waiting, c.unsent = due, true, l.request
	l.busy++
	l.flush(i)
}

// flush writes what of the request is left.
func (l *loop) flush(i int) {
	c := &l.conns[i]
	for len(c.unsent) > 0 {
		n, err := write(c.fd, c.unsent)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			l.fail(i, fmt.Errorf("write: %w", err), true)
			return
		}
		c.unsent = c.unsent[n:]
	}
	if write := len(c.unsent) > 0; write != c.writable {
		c.writable = write
		if err := l.poll.watch(c.fd, i, write); err != nil {
			l.fail(i, err, true)
		}
	}
}

// ready handles what epoll reports of a connection; done says that its
// response is complete and it may send again.
func (l *loop) ready(ev syscall.EpollEvent) (i int, done bool) {
	i = int(ev.Fd)
	c := &l.conns[i]
	if c.fd < 0 {
		return i, false
	}
	if ev.Events&syscall.EPOLLOUT != 0 {
		if l.flush(i); c.fd < 0 {
			return i, false
		}
	}
	if ev.Events&^syscall.EPOLLOUT == 0 {
		return i, false
	}
	n, err := read(c.fd, l.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return i, false
	case err != nil:
		l.fail(i, fmt.Errorf("read: %w", err), true)
		return i, false
	case n == 0:
		l.fail(i, errors.New("the server closed the connection"), true)
		return i, false
	}
	done, err = c.feed(l.buf[:n], l.spec.Request.Response)
	if err != nil {
		l.fail(i, err, true)
		return i, false
	}
	if !done {
		return i, false
	}
	l.busy--
	if c.failed != nil {
		l.fail(i, c.failed, false)
		return i, true
	}
	l.last = l.now()
	l.hist.Record(time.Duration(l.last - c.due))
	l.done++
	return i, true
}

// closedLoop sends over each connection until the time is up.
func (l *loop) closedLoop(ctx context.Context, d time.Duration) (elapsed time.Duration, err error) {
	begin := l.now()
	end := begin + int64(d)
	for l.free.n > 0 {
		l.send(l.free.pop(), l.now())
	}
	for limit := end + int64(drainLimit); l.busy > 0; {
		if l.now() > limit {
			l.overdue()
			break
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		events, err := l.poll.wait(100 * time.Millisecond)
		if err != nil {
			return 0, err
		}
		now := l.now()
		for _, ev := range events {
			i, done := l.ready(ev)
			switch {
			case done && now < end:
				l.send(i, l.now())
			case done:
				l.free.push(i)
			}
		}
	}
	return max(0, time.Duration(l.last-begin)), nil
}

// overdue gives up on the responses that have not come.
func (l *loop) overdue() {
	for i := range l.conns {
		if l.conns[i].waiting {
			l.fail(i, fmt.Errorf("no response %v after the end", drainLimit), true)
		}
	}
}

// openLoop sends at the rate until the time is up. A request that is due while
// all connections wait is sent as soon as one is free; its time runs meanwhile.
func (l *loop) openLoop(ctx context.Context, d time.Duration) (elapsed time.Duration, unsent int, err error) {
	begin := l.now()
	end := begin + int64(d)
	total := int(l.spec.Rate * d.Seconds())
	gap := float64(time.Second) / l.spec.Rate
	next := 0
	due := func() int64 { return begin + int64(float64(next)*gap) }
	for limit := end + int64(drainLimit); ; {
		now := l.now()
		for next < total && now < end && l.free.n > 0 && due() <= now {
			l.send(l.free.pop(), due())
			next++
		}
		if (now >= end || next >= total || l.alive == 0) && l.busy == 0 {
			break
		}
		if now > limit {
			l.overdue()
			break
		}
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		timeout := 100 * time.Millisecond
		if next < total && now < end && l.free.n > 0 {
			timeout = min(timeout, time.Duration(due()-now))
		}
		events, err := l.poll.wait(timeout)
		if err != nil {
			return 0, 0, err
		}
		for _, ev := range events {
			if i, done := l.ready(ev); done {
				l.free.push(i)
			}
		}
	}
	unsent = total - next
	for now := l.now(); next < total; next++ {
		l.hist.Record(time.Duration(now - due()))
	}
	return max(0, time.Duration(l.last-begin)), unsent, nil
}
