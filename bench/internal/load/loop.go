package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/hdr"
)

// drainLimit is how long the last responses may take.
const drainLimit = 5 * time.Second

// keptErrors is how many errors are told; all are counted.
const keptErrors = 5

// loop drives the connections. It is one goroutine's alone. What carries one
// request at a time is a slot: a connection of HTTP/1.1 is one, and one of
// HTTP/2 is Spec.Streams of them, which follow each other.
type loop struct {
	spec    Spec
	request []byte // of HTTP/1.1
	conns   []conn
	due     []int64 // by slot: when its request was to be sent, on the loop's clock
	free    queue   // of slots
	busy    int
	alive   int
	poll    *poller
	buf     []byte
	start   time.Time // the zero of the clock
	staged  []int     // connections that have something to send
	ended   []int     // slots whose responses have come, since the loop has looked

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
	spec.Streams = max(spec.Streams, 1)
	slots := spec.slots()
	l := &loop{
		spec: spec, request: spec.Request.bytes(), poll: poll, buf: make([]byte, 256<<10), free: newQueue(slots), due: make([]int64, slots),
		conns: make([]conn, 0, spec.Connections), start: time.Now(), hist: new(hdr.Histogram),
	}
	for i := range spec.Connections {
		fd, err := dial(address)
		if err == nil {
			l.conns = append(l.conns, conn{fd: fd})
			l.alive++
			err = l.conns[i].hello(spec, l.buf)
		}
		if err == nil {
			err = poll.add(fd, i)
		}
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connection %d of %d: %w", i+1, spec.Connections, err)
		}
	}
	// One slot of each connection after the other, so that all are used alike.
	for stream := range spec.Streams {
		for i := range spec.Connections {
			l.free.push(i*spec.Streams + stream)
		}
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

// fail counts an error of a request.
func (l *loop) fail(err error) {
	l.errors++
	if len(l.first) < keptErrors {
		l.first = append(l.first, err.Error())
	}
}

// lose counts an error of a connection, and closes it.
func (l *loop) lose(i int, err error) {
	c := &l.conns[i]
	if c.fd < 0 {
		return
	}
	l.fail(err)
	l.busy -= c.busy
	_ = syscall.Close(c.fd)
	c.fd, c.busy = -1, 0
	l.alive--
}

// take is a slot that waits for nothing; ok is false where there is none.
func (l *loop) take() (slot int, ok bool) {
	for l.free.n > 0 {
		slot = l.free.pop()
		if l.conns[slot/l.spec.Streams].fd >= 0 {
			return slot, true
		}
	}
	return 0, false
}

// send prepares the request of a slot. It goes out with the next flush.
func (l *loop) send(slot int, due int64) {
	i := slot / l.spec.Streams
	c := &l.conns[i]
	l.due[slot] = due
	l.busy++
	c.busy++
	switch {
	case c.h2 != nil:
		c.plain = c.h2.begin(c.plain, slot%l.spec.Streams)
	case c.link != nil:
		c.h1.waiting = true
		c.plain = append(c.plain, l.request...)
	default:
		c.h1.waiting = true
		c.unsent = l.request
	}
	l.stage(i)
}

// stage has the next flush look at a connection.
func (l *loop) stage(i int) {
	if c := &l.conns[i]; !c.staged {
		c.staged = true
		l.staged = append(l.staged, i)
	}
}

// flush writes what all connections have to send.
func (l *loop) flush() {
	for _, i := range l.staged {
		l.conns[i].staged = false
		l.write(i)
	}
	l.staged = l.staged[:0]
}

// write writes what a connection has to send, as far as its socket takes it.
func (l *loop) write(i int) {
	c := &l.conns[i]
	if c.fd < 0 {
		return
	}
	c.stage()
	err := c.drain()
	if write := len(c.unsent) > 0; err == nil && write != c.writable {
		c.writable = write
		err = l.poll.watch(c.fd, i, write)
	}
	if err != nil {
		l.lose(i, err)
	}
}

// ready handles what epoll reports of a connection: the slots whose responses
// are complete, and which may send again, are in ended after it.
func (l *loop) ready(ev syscall.EpollEvent) {
	l.ended = l.ended[:0]
	i := int(ev.Fd)
	c := &l.conns[i]
	if c.fd < 0 {
		return
	}
	if ev.Events&syscall.EPOLLOUT != 0 {
		if l.write(i); c.fd < 0 {
			return
		}
	}
	if ev.Events&^syscall.EPOLLOUT == 0 {
		return
	}
	err := l.receive(i)
	switch {
	case err == nil, errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
	case errors.Is(err, io.EOF):
		l.lose(i, errors.New("the server closed the connection"))
	default:
		l.lose(i, err)
	}
}

// receive reads from a connection and takes what has come.
func (l *loop) receive(i int) error {
	c := &l.conns[i]
	if c.link == nil {
		n, err := c.read(l.buf)
		if err != nil {
			return readError(err)
		}
		return l.feed(i, l.buf[:n])
	}
	// What TLS holds back epoll does not report: all of it is read.
	if err := c.link.fill(); err != nil {
		return readError(err)
	}
	for {
		n, err := c.read(l.buf)
		if err != nil {
			return readError(err)
		}
		if err := l.feed(i, l.buf[:n]); err != nil {
			return err
		}
	}
}

// readError says that an error is of reading; those that the loop tells apart
// stay what they are.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EAGAIN) {
		return err
	}
	return fmt.Errorf("read: %w", err)
}

// feed takes what a connection has received.
func (l *loop) feed(i int, p []byte) (err error) {
	c := &l.conns[i]
	if c.h2 == nil {
		done, err := c.h1.feed(p, l.spec.Request.Response)
		if err != nil || !done {
			return err
		}
		if len(c.unsent) > 0 || len(c.plain) > 0 {
			return errEarly
		}
		l.answered(i, i, c.h1.failed)
		return nil
	}
	if c.plain, err = c.h2.feed(c.plain, p, func(stream int, failed error) {
		l.answered(i, i*l.spec.Streams+stream, failed)
	}); err != nil {
		return err
	}
	if len(c.plain) > 0 {
		l.stage(i)
	}
	return nil
}

// answered counts a response that is complete.
func (l *loop) answered(i, slot int, failed error) {
	l.busy--
	l.conns[i].busy--
	l.ended = append(l.ended, slot)
	if failed != nil {
		l.fail(failed)
		return
	}
	l.last = l.now()
	l.hist.Record(time.Duration(l.last - l.due[slot]))
	l.done++
}

// closedLoop sends over each slot until the time is up.
func (l *loop) closedLoop(ctx context.Context, d time.Duration) (elapsed time.Duration, err error) {
	begin := l.now()
	end := begin + int64(d)
	for {
		slot, ok := l.take()
		if !ok {
			break
		}
		l.send(slot, l.now())
	}
	l.flush()
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
			l.ready(ev)
			for _, slot := range l.ended {
				if now < end && l.conns[slot/l.spec.Streams].fd >= 0 {
					l.send(slot, l.now())
				} else {
					l.free.push(slot)
				}
			}
			l.flush()
		}
	}
	return max(0, time.Duration(l.last-begin)), nil
}

// sendAll sends over each slot once, and waits until all of it is out.
func (l *loop) sendAll(ctx context.Context) error {
	for {
		slot, ok := l.take()
		if !ok {
			break
		}
		l.send(slot, l.now())
	}
	l.flush()
	for limit := l.now() + int64(drainLimit); slices.ContainsFunc(l.conns, conn.sending); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if l.now() > limit {
			return fmt.Errorf("the requests could not be sent within %v", drainLimit)
		}
		events, err := l.poll.wait(100 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, ev := range events {
			l.ready(ev)
		}
		l.flush()
	}
	return l.broken()
}

// broken is the first error that was counted.
func (l *loop) broken() error {
	if len(l.first) == 0 {
		return nil
	}
	return errors.New(l.first[0])
}

// overdue gives up on the responses that have not come.
func (l *loop) overdue() {
	for i := range l.conns {
		if l.conns[i].busy > 0 {
			l.lose(i, fmt.Errorf("no response %v after the end", drainLimit))
		}
	}
}

// openLoop sends at the rate until the time is up. A request that is due while
// all slots wait is sent as soon as one is free; its time runs meanwhile.
func (l *loop) openLoop(ctx context.Context, d time.Duration) (elapsed time.Duration, unsent int, err error) {
	begin := l.now()
	end := begin + int64(d)
	total := int(l.spec.Rate * d.Seconds())
	gap := float64(time.Second) / l.spec.Rate
	next := 0
	due := func() int64 { return begin + int64(float64(next)*gap) }
	for limit := end + int64(drainLimit); ; {
		now := l.now()
		for next < total && now < end && due() <= now {
			slot, ok := l.take()
			if !ok {
				break
			}
			l.send(slot, due())
			next++
		}
		l.flush()
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
			l.ready(ev)
			for _, slot := range l.ended {
				l.free.push(slot)
			}
		}
	}
	unsent = total - next
	for now := l.now(); next < total; next++ {
		l.hist.Record(time.Duration(now - due()))
	}
	return max(0, time.Duration(l.last-begin)), unsent, nil
}
