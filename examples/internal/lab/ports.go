package lab

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that are given out where the default ones are taken: blocks of
// blockSize, below the range that systems take the ports of outgoing
// connections from. A port from that range could be taken by anybody's
// connection while the process that it was meant for is down.
const (
	firstBlock = 20000
	blocks     = 120
	blockSize  = 100
)

// Ports gives out loopback ports. The first port of its block is held open as
// a sign to other programs that use this package, so that two that run at
// once never give out the same port.
type Ports struct {
	sign io.Closer
	next int
	end  int
}

// NewPorts reserves a block of ports.
func NewPorts() (*Ports, error) {
	start := rand.IntN(blocks)
	for i := range blocks {
		port := firstBlock + (start+i)%blocks*blockSize
		if sign, err := Claim(address(port)); err == nil {
			return &Ports{sign: sign, next: port + 1, end: port + blockSize}, nil
		}
	}
	return nil, fmt.Errorf("no block of %d free ports from %d on", blockSize, firstBlock)
}

// Take returns a free address on loopback.
func (p *Ports) Take() (string, error) {
	for ; p.next < p.end; p.next++ {
		addr := address(p.next)
		if Free(addr) {
			p.next++
			return addr, nil
		}
	}
	return "", fmt.Errorf("all ports of the block up to %d are taken", p.end)
}

// Close gives the block back.
func (p *Ports) Close() error { return p.sign.Close() }

// Claim holds addr open as a sign that what it stands for is taken, until it is
// closed; an error if somebody else holds it.
func Claim(addr string) (io.Closer, error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", addr, err)
	}
	return ln, nil
}

// Free reports whether addr can be listened at just now.
func Free(addr string) bool {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
