package peer

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports below the range that Linux takes the ports of outgoing connections from
// (ip_local_port_range, from 32768): one of 10,000 clients could otherwise have
// taken the port that a peer is about to listen on.
const (
	firstPort = 20000
	lastPort  = 32000
)

// Address is one on loopback that nobody listens on.
func Address() (string, error) {
	for range 200 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		l, err := net.Listen("tcp4", address) //nolint:noctx // it is closed at once
		if err != nil {
			continue
		}
		return address, l.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 in 200 attempts")
}
