package node

import (
	"net"
	"slices"
)

// sockets are listening sockets that were bound before this process began: by
// the sidecar that it replaces, or by systemd.
type sockets struct{ left []Socket }

// Socket is a bound listener that a process is given.
type Socket struct {
	// Name is what the socket is for: inbound/http for the app's port http,
	// outbound, gateway, admin or metrics. Empty: its address tells.
	Name string
	// Address is how the configuration of who bound it had it, host:port.
	// Empty: it is what it was bound to.
	Address  string
	Listener net.Listener
}

func newSockets(given []Socket) *sockets { return &sockets{left: slices.Clone(given)} }

// take gives the socket for a wish, and nil where there is none: one of the
// same name and address, one of the same address, or one that is bound there.
func (s *sockets) take(w wish) net.Listener {
	if s == nil {
		return nil
	}
	for _, fits := range []func(Socket) bool{
		func(x Socket) bool { return w.called(x.Name) && (x.Address == w.address || x.Address == "") },
		func(x Socket) bool { return x.Address == w.address && !chosen(w.address) },
		func(x Socket) bool { return x.Name == "" && x.Listener.Addr().String() == w.address },
	} {
		if ln := s.first(fits); ln != nil {
			return ln
		}
	}
	return nil
}

// named gives the socket of that very name and address, and nil where there is
// none.
func (s *sockets) named(name, address string) net.Listener {
	return s.first(func(x Socket) bool { return x.Name == name && x.Address == address })
}

func (s *sockets) first(fits func(Socket) bool) net.Listener {
	i := slices.IndexFunc(s.left, fits)
	if i < 0 {
		return nil
	}
	ln := s.left[i].Listener
	s.left = slices.Delete(s.left, i, i+1)
	return ln
}

// called reports whether a socket's name means this listener: its own name, its
// key in the file, or just inbound for the app's first port.
func (w wish) called(name string) bool {
	return name == w.name() || name == w.key || name == string(w.role) && w.key == inboundKey(0)
}

// chosen reports whether the system chooses the port.
func chosen(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err != nil || port == "0"
}

// close closes what nobody took, and returns what that was.
func (s *sockets) close() []string {
	var names []string
	if s == nil {
		return nil
	}
	for _, x := range s.left {
		names = append(names, x.Name+" "+x.Listener.Addr().String())
		_ = x.Listener.Close()
	}
	s.left = nil
	return names
}
