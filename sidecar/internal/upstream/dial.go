package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// attemptDelay is how long one address is waited for before the next one is
// tried beside it (RFC 8305, section 5, "Connection Attempt Delay").
const attemptDelay = 250 * time.Millisecond

// errRefusedAddress says that a name has led where it must not.
var errRefusedAddress = errors.New("the address is this sidecar's own")

// dialer connects to one endpoint. For a name it follows RFC 8305 ("Happy
// Eyeballs"): addresses of both families in turn, each with a head start on the
// next, the first connection wins. net.Dialer's own way (RFC 6555) is to try the
// addresses of a family one after the other, each for its whole share of the
// time, so that one dead address costs seconds; and it resolves the name anew
// for each connection.
type dialer struct {
	address string // host:port
	names   *names // nil where host is an IP address
	connect func(context.Context, string) (net.Conn, error)
}

func newDialer(address string, refuse func(netip.AddrPort) bool) dialer {
	nd := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if refuse == nil {
			return nil
		}
		if a, err := netip.ParseAddrPort(address); err == nil && refuse(netip.AddrPortFrom(a.Addr().Unmap(), a.Port())) {
			return errRefusedAddress
		}
		return nil
	}}
	d := dialer{address: address, connect: func(ctx context.Context, address string) (net.Conn, error) {
		return nd.DialContext(ctx, "tcp", address)
	}}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return d // the dialer says so
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if _, notIP := netip.ParseAddr(host); notIP == nil || err != nil {
		return d
	}
	d.names = newNames(host, uint16(port), net.DefaultResolver.LookupNetIP)
	return d
}

// dial connects, within ctx.
func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	if d.names == nil {
		return d.connect(ctx, d.address)
	}
	addresses, err := d.names.get(ctx)
	if err != nil {
		return nil, err
	}
	r := race{connect: d.connect, names: d.names}
	return r.run(ctx, addresses)
}

// race is one connection attempt over several addresses.
type race struct {
	connect func(context.Context, string) (net.Conn, error)
	names   *names
	decided atomic.Bool // there is a winner, or nobody wants one any more
}

type lap struct {
	address netip.AddrPort
	conn    net.Conn
	err     error
}

// run returns the first connection that is there; all others are closed.
func (r *race) run(ctx context.Context, addresses []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	laps := make(chan lap, maxAddresses) // nobody blocks, whether it is read or not
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	running, next := 0, 0
	ended := make(map[netip.AddrPort]bool, len(addresses))
	// overtaken has what was started and has not come back stand behind the
	// others next time.
	overtaken := func(by netip.AddrPort) {
		for _, a := range addresses[:next] {
			if a == by {
				return
			}
			if !ended[a] {
				r.names.failed(a)
			}
		}
	}
	start := func() {
		running++
		go r.lap(ctx, addresses[next], laps)
		next++
		timer.Reset(attemptDelay)
	}
	var errs []error
	for start(); ; {
		select {
		case l := <-laps:
			running--
			ended[l.address] = true
			if l.err == nil {
				overtaken(l.address)
				r.names.worked(l.address)
				return l.conn, nil
			}
			r.names.failed(l.address)
			errs = append(errs, l.err)
			addresses = r.names.more(addresses)
			switch {
			case next < len(addresses):
				start()
			case running == 0:
				r.names.expire() // none is any good: ask again where the name leads
				return nil, errors.Join(errs...)
			}
		case <-timer.C:
			if addresses = r.names.more(addresses); next < len(addresses) {
				start()
			} else {
				timer.Reset(attemptDelay) // another address may still come
			}
		case <-ctx.Done():
			if !r.decided.CompareAndSwap(false, true) {
				return r.winner(laps)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				overtaken(netip.AddrPort{})
				r.names.expire()
			}
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
}

func (r *race) lap(ctx context.Context, address netip.AddrPort, laps chan<- lap) {
	conn, err := r.connect(ctx, address.String())
	if err == nil && !r.decided.CompareAndSwap(false, true) {
		_ = conn.Close()
		conn, err = nil, context.Canceled
	}
	laps <- lap{address, conn, err}
}

// winner waits for the one that has won in the last moment.
func (r *race) winner(laps <-chan lap) (net.Conn, error) {
	for l := range laps { // it is there or about to be
		if l.err == nil {
			r.names.worked(l.address)
			return l.conn, nil
		}
	}
	return nil, net.ErrClosed // never: laps is not closed
}
