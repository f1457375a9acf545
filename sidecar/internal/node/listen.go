package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// listeners are the bound sockets, by the configuration key that names them.
type listeners map[string]net.Listener

// bind binds the address for the key; an empty address is a listener that is
// off. The error names key and address.
func (l listeners) bind(key, address string) error {
	if address == "" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another program: stop it, or set %s to another port", key, address, key)
	case err != nil:
		return fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
	}
	l[key] = ln
	return nil
}

func (l listeners) close() {
	for _, ln := range l {
		_ = ln.Close()
	}
}

// own reports whether an address is one of this sidecar's listeners, under
// whatever of the machine's addresses: a request that is passed through to it
// would go round for ever.
func (s *Node) own(a netip.AddrPort) bool {
	if !slices.ContainsFunc(slices.Collect(maps.Values(s.listeners)), func(ln net.Listener) bool {
		tcp, ok := ln.Addr().(*net.TCPAddr)
		return ok && tcp.Port == int(a.Port())
	}) {
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

func sorted[T any](list []T, key func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return list
}
