package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// doors are the listeners in force. They are changed by one goroutine at a
// time: by New and Run, then by a reload, then by the end.
type doors struct {
	mu  sync.Mutex
	all map[spec]*door

	// ports are those that this process listens on, for own.
	ports atomic.Pointer[map[int]struct{}]
	// failed is told of a server that ends by itself.
	failed chan error
	// leaving are the doors that are not in force any more, and still drain.
	leaving sync.WaitGroup
}

func newDoors() *doors {
	d := &doors{all: map[spec]*door{}, failed: make(chan error, 1)}
	d.ports.Store(&map[int]struct{}{})
	return d
}

// list is the doors in force, by their keys.
func (d *doors) list() []*door {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.all), func(a, b *door) int { return strings.Compare(a.key, b.key) })
}

// of are the doors in force of one role.
func (d *doors) of(want func(role) bool) []*door {
	return slices.DeleteFunc(d.list(), func(x *door) bool { return !want(x.role) })
}

// change is what a new configuration does to the doors.
type change struct {
	fresh []*door          // bound, not served yet
	kept  map[*door]string // their keys from now on
	gone  []*door
}

// prepare binds what the wishes ask for and is not open, or nothing and says
// all that is wrong. Nothing that is in force is touched.
func (d *doors) prepare(want []wish, inherited *sockets) (*change, error) {
	d.mu.Lock()
	old := maps.Clone(d.all)
	d.mu.Unlock()
	c := &change{kept: map[*door]string{}}
	var errs []error
	for _, w := range want {
		if x := old[w.spec]; x != nil {
			c.kept[x] = w.key
			delete(old, w.spec)
			continue
		}
		ln, err := bind(w, old, inherited)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.fresh = append(c.fresh, &door{wish: w, ln: ln})
	}
	for _, x := range old {
		c.gone = append(c.gone, x)
	}
	if err := errors.Join(errs...); err != nil {
		c.undo()
		return nil, err
	}
	return c, nil
}

// undo gives up what prepare has bound.
func (c *change) undo() {
	for _, x := range c.fresh {
		x.close()
	}
}

// commit puts a change in force. The doors that are gone are the caller's.
func (d *doors) commit(c *change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for x, key := range c.kept {
		x.key = key
	}
	for _, x := range c.gone {
		delete(d.all, x.spec)
	}
	ports := map[int]struct{}{}
	for _, x := range c.fresh {
		d.all[x.spec] = x
	}
	for _, x := range d.all {
		if a, ok := x.ln.Addr().(*net.TCPAddr); ok {
			ports[a.Port] = struct{}{}
		}
	}
	d.ports.Store(&ports)
}

// bind gives the listener for a wish: one that was inherited, the socket of a
// door with the same address that has another purpose from now on, or a new
// one. The error names key and address.
func bind(w wish, old map[spec]*door, inherited *sockets) (net.Listener, error) {
	if ln := inherited.take(w); ln != nil {
		return ln, nil
	}
	if _, port, err := net.SplitHostPort(w.address); err == nil && port != "0" {
		for _, x := range old {
			if x.address == w.address {
				return again(w, x.ln)
			}
		}
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", w.address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		for _, x := range old {
			if samePort(x.ln.Addr(), w.address) {
				return nil, fmt.Errorf("%s: %s cannot be listened on while %s has %s: that needs a restart, or another port", w.key, w.address, x.key, x.ln.Addr())
			}
		}
		return nil, fmt.Errorf("%s: %s is in use by another program: stop it, or set %s to another port", w.key, w.address, w.key)
	case err != nil:
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", w.key, w.address, err)
	}
	return ln, nil
}

func samePort(bound net.Addr, address string) bool {
	a, ok := bound.(*net.TCPAddr)
	_, port, err := net.SplitHostPort(address)
	return ok && err == nil && port == strconv.Itoa(a.Port)
}

// again is the same socket once more: with another server, no connection that
// waits in its queue is lost.
func again(w wish, ln net.Listener) (net.Listener, error) {
	f, ok := ln.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%s: %s cannot be taken over from the listener that has it: that needs a restart", w.key, w.address)
	}
	file, err := duplicate(f, w.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %s cannot be taken over from the listener that has it: %w", w.key, w.address, err)
	}
	defer func() { _ = file.Close() }()
	return net.FileListener(file)
}

// own reports whether an address is one of this sidecar's listeners, under
// whatever of the machine's addresses: a request that is passed through to it
// would go round for ever.
func (d *doors) own(a netip.AddrPort) bool {
	if _, ok := (*d.ports.Load())[int(a.Port())]; !ok {
		return false
	}
	ip := a.Addr().Unmap().WithZone("")
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true // better refused than a loop
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		own, ok := netip.AddrFromSlice(n.IP)
		return ok && own.Unmap() == ip
	})
}

// bound is where the listeners of a change are, by their names.
func (c *change) bound() map[string]net.Addr {
	all := map[string]net.Addr{}
	for x := range c.kept {
		all[x.name()] = x.ln.Addr()
	}
	for _, x := range c.fresh {
		all[x.name()] = x.ln.Addr()
	}
	return all
}

// listenerStatus is a listener in the admin's dump.
type listenerStatus struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	Address     string `json:"address"`
	Protocol    string `json:"protocol,omitempty"`
	Connections int    `json:"connections"`
}

func (d *doors) status() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []listenerStatus{}
	for _, x := range d.all {
		st := listenerStatus{Key: x.key, Name: x.name(), Address: x.ln.Addr().String(), Protocol: string(x.protocol)}
		if x.server != nil {
			st.Connections = x.server.Connections()
		}
		list = append(list, st)
	}
	return sorted(list, func(s listenerStatus) string { return s.Name })
}

func sorted[T any](list []T, key func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	return list
}
