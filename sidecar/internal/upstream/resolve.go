package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How names are resolved.
const (
	// freshFor is how long an answer is used before the name is resolved again.
	// Go's resolver does not say how long the answer's own TTL is.
	freshFor = 10 * time.Second
	// retryAfter is the pause after an answer that was an error.
	retryAfter = time.Second
	// resolutionDelay is how long the answer of one family waits for that of the
	// other ("Resolution Delay").
	resolutionDelay = 50 * time.Millisecond
	// stalePatience is how long a new answer is waited for where there is an
	// old one.
	stalePatience = 100 * time.Millisecond
	// lookupTimeout limits what runs behind the back of those who have an old
	// answer.
	lookupTimeout = 5 * time.Second
	// badFor is how long an address that failed stands behind the others.
	badFor       = 30 * time.Second
	maxAddresses = 64
)

// lookupFunc is net.Resolver.LookupNetIP.
type lookupFunc func(ctx context.Context, network, host string) ([]netip.Addr, error)

// names knows where a name leads. The last addresses that were heard of stay
// until there are others: a failing resolver does not take an endpoint away.
type names struct {
	host   string
	port   uint16
	lookup lookupFunc

	mu        sync.Mutex
	addresses []netip.Addr
	bad       map[netip.Addr]time.Time // when it has failed
	good      netip.Addr               // connected to last
	until     time.Time                // when to resolve again
	err       error                    // of the last answer
	flight    chan struct{}            // closed when the lookup that runs has an answer; nil: none runs
	stop      context.CancelFunc       // of that lookup
	closed    bool
}

func newNames(host string, port uint16, lookup lookupFunc) *names {
	return &names{host: host, port: port, lookup: lookup, bad: map[netip.Addr]time.Time{}}
}

// get is the addresses in the order in which they are to be tried; at least one
// where there is no error.
func (n *names) get(ctx context.Context) ([]netip.AddrPort, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); n.flight == nil && !now.Before(n.until) && !n.closed {
		n.resolve()
	}
	if n.flight != nil {
		n.await(ctx)
	}
	if len(n.addresses) == 0 {
		if err := ctx.Err(); err != nil && n.err == nil {
			return nil, fmt.Errorf("resolve %s: %w", n.host, err)
		}
		if n.err == nil {
			return nil, fmt.Errorf("resolve %s: no address yet", n.host)
		}
		return nil, fmt.Errorf("resolve %s: %w", n.host, n.err)
	}
	return n.order(time.Now()), nil
}

// await waits for the lookup that runs, shortly where there is an old answer.
// mu is held, but while it waits.
func (n *names) await(ctx context.Context) {
	if len(n.addresses) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stalePatience)
		defer cancel()
	}
	flight := n.flight
	n.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
	}
	n.mu.Lock()
}

type answer struct {
	addresses []netip.Addr
	err       error
}

// resolve starts a lookup. mu is held.
func (n *names) resolve() {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	n.flight, n.stop = make(chan struct{}), cancel
	answers := make(chan answer, 2)
	for _, network := range []string{"ip6", "ip4"} {
		go func() {
			a, err := n.lookup(ctx, network, n.host)
			answers <- answer{a, err}
		}()
	}
	go func() {
		defer cancel()
		n.collect(answers)
	}()
}

// collect takes both answers. A good one is enough to go on with after a pause
// for the other: without it, IPv4 addresses would be tried before the IPv6 ones
// are known (RFC 8305, section 3), and the IPv6 ones alone where they may be dead.
// What comes later is added.
func (n *names) collect(answers <-chan answer) {
	first := <-answers
	if first.err != nil || len(first.addresses) == 0 {
		n.answered(true, first, <-answers)
		return
	}
	timer := time.NewTimer(resolutionDelay)
	defer timer.Stop()
	select {
	case second := <-answers:
		n.answered(true, first, second)
		return
	case <-timer.C:
	}
	n.answered(false, first)
	n.answered(true, first, <-answers)
}

// answered takes an answer in; last says that the lookup has ended with it.
func (n *names) answered(last bool, answers ...answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []netip.Addr
	var errs []error
	for _, a := range answers {
		if a.err != nil {
			errs = append(errs, a.err)
		}
		for _, ip := range a.addresses {
			if ip = ip.Unmap(); !slices.Contains(found, ip) && len(found) < maxAddresses {
				found = append(found, ip)
			}
		}
	}
	now := time.Now()
	switch {
	case len(found) > 0:
		n.addresses, n.err, n.until = found, nil, now.Add(freshFor)
	case len(errs) > 0:
		n.err, n.until = errors.Join(errs...), now.Add(retryAfter)
	default:
		n.err, n.until = errors.New("the name has no address"), now.Add(retryAfter)
	}
	for ip := range n.bad {
		if !slices.Contains(n.addresses, ip) {
			delete(n.bad, ip)
		}
	}
	select {
	case <-n.flight:
	default:
		close(n.flight)
	}
	if last {
		n.flight = nil
	}
}

// order is the addresses: those of the family that worked last first and in
// turn with the others (RFC 8305, section 4), IPv6 where nothing is known; what
// has failed lately at the end.
func (n *names) order(now time.Time) []netip.AddrPort {
	var six, four, bad []netip.Addr
	for _, ip := range n.addresses {
		at, failed := n.bad[ip]
		switch {
		case failed && now.Sub(at) < badFor:
			bad = append(bad, ip)
		case ip.Is4():
			four = append(four, ip)
		default:
			six = append(six, ip)
		}
	}
	first, second := six, four
	if n.good.Is4() {
		first, second = four, six
	}
	out := make([]netip.AddrPort, 0, len(n.addresses))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, netip.AddrPortFrom(first[i], n.port))
		}
		if i < len(second) {
			out = append(out, netip.AddrPortFrom(second[i], n.port))
		}
	}
	for _, ip := range bad {
		out = append(out, netip.AddrPortFrom(ip, n.port))
	}
	return out
}

// more appends the addresses that have come since to the list.
func (n *names) more(list []netip.AddrPort) []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ip := range n.addresses {
		if a := netip.AddrPortFrom(ip, n.port); len(list) < maxAddresses && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// worked and failed remember how an address did.
func (n *names) worked(a netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.good = a.Addr()
	delete(n.bad, a.Addr())
}

func (n *names) failed(a netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.addresses, a.Addr()) {
		n.bad[a.Addr()] = time.Now()
	}
}

// expire has the name resolved again for the next connection.
func (n *names) expire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if soon := time.Now().Add(retryAfter); n.until.After(soon) {
		n.until = soon
	}
}

// close ends a lookup that runs.
func (n *names) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.stop != nil {
		n.stop()
	}
}
