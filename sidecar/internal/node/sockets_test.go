package node

import (
	"net"
	"testing"
)

func TestASocketIsForTheListenerOfItsNameOrAddress(t *testing.T) {
	bound := func() net.Listener {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return ln
	}
	first := wish{spec{role: roleInbound, port: "http", protocol: "http", address: "127.0.0.1:15006"}, "listen.inbound"}
	second := wish{spec{role: roleInbound, port: "raw", protocol: "tcp", address: "127.0.0.1:0"}, "app.ports[1].listen"}
	out := wish{spec{role: roleOutbound, address: "127.0.0.1:15001"}, "listen.outbound"}
	ln := bound()
	there := wish{spec{role: roleAdmin, address: ln.Addr().String()}, "listen.admin"}
	for _, tt := range []struct {
		name  string
		given Socket
		w     wish
		want  bool
	}{
		{"of the process before", Socket{Name: "inbound/http", Address: "127.0.0.1:15006"}, first, true},
		{"of the process before, on a port that the system chose", Socket{Name: "inbound/raw", Address: "127.0.0.1:0"}, second, true},
		{"of another port that the system chose", Socket{Name: "outbound", Address: "127.0.0.1:0"}, second, false},
		{"of the process before, with another purpose", Socket{Name: "gateway", Address: "127.0.0.1:15001"}, out, true},
		{"of the process before, with another address", Socket{Name: "outbound", Address: "127.0.0.1:15011"}, out, false},
		{"of systemd's, by its name", Socket{Name: "outbound"}, out, true},
		{"of systemd's, by the first port's name", Socket{Name: "inbound"}, first, true},
		{"of systemd's, not the second port's", Socket{Name: "inbound"}, second, false},
		{"of systemd's, by its address", Socket{}, there, true},
		{"of systemd's, elsewhere", Socket{}, out, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.given.Listener = ln
			s := newSockets([]Socket{tt.given})
			if got := s.take(tt.w); (got != nil) != tt.want {
				t.Errorf("taken %v, want %v", got != nil, tt.want)
			}
			if s.take(tt.w) != nil {
				t.Error("it was given twice")
			}
		})
	}
	s := newSockets([]Socket{{Name: "x", Listener: bound()}})
	if left := s.close(); len(left) != 1 {
		t.Errorf("left are %q", left)
	}
}
