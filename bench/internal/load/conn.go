package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"
)

// helloLimit is how long a connection may take until requests can be sent.
const helloLimit = 5 * time.Second

// conn is one connection: the socket, TLS where there is any, and the protocol.
type conn struct {
	fd    int
	waits bool   // the socket blocks, until hello is over
	link  *link  // nil: without TLS
	h1    http1  // what is spoken, where h2 is nil
	h2    *http2 // nil: HTTP/1.1

	busy     int    // requests that were sent, or are to be, and are not answered
	plain    []byte // what is to go out, before TLS
	own      []byte // the memory of unsent, but for a request of HTTP/1.1
	unsent   []byte // what the socket did not take yet
	staged   bool   // it stands in the loop's list of those with something to send
	writable bool   // epoll reports when the socket takes more
}

// dial connects, and makes the socket non-blocking.
func dial(address netip.AddrPort) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	for {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, fmt.Errorf("connect to %v: %w", address, err)
	}
	return fd, nil
}

// hello does what comes before the first request, and waits for it.
func (c *conn) hello(spec Spec, buf []byte) error {
	if spec.TLS == nil && spec.Protocol == HTTP1 {
		return nil
	}
	limit := syscall.NsecToTimeval(int64(helloLimit))
	for _, what := range []int{syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO} {
		if err := syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, what, &limit); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
	}
	if err := syscall.SetNonblock(c.fd, false); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.waits = true
	if spec.TLS != nil {
		l, err := handshake(c, spec)
		if err != nil {
			return err
		}
		c.link = l
	}
	if spec.Protocol != HTTP1 {
		if err := c.hello2(spec, buf); err != nil {
			return fmt.Errorf("HTTP/2: %w", err)
		}
	}
	c.waits = false
	return syscall.SetNonblock(c.fd, true)
}

// hello2 exchanges the settings of HTTP/2.
func (c *conn) hello2(spec Spec, buf []byte) error {
	c.h2 = newHTTP2(spec)
	c.plain = c.h2.hello(c.plain)
	c.stage()
	if err := c.drain(); err != nil {
		return err
	}
	for !c.h2.session.Settled {
		n, err := c.read(buf)
		if err != nil {
			return fmt.Errorf("waiting for the settings: %w", err)
		}
		if c.plain, err = c.h2.feed(c.plain, buf[:n], func(int, error) {}); err != nil {
			return err
		}
	}
	return c.h2.begun(spec)
}

// read reads what is there; io.EOF: the other side has ended the connection. A
// socket that does not block has nothing more after syscall.EAGAIN.
func (c *conn) read(buf []byte) (int, error) {
	if c.link != nil {
		return c.link.tls.Read(buf)
	}
	return c.receive(buf)
}

// receive reads from the socket.
func (c *conn) receive(buf []byte) (int, error) {
	get := read
	if c.waits {
		get = await
	}
	n, err := get(c.fd, buf)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// stage moves what is to go out to unsent.
func (c *conn) stage() {
	if len(c.plain) == 0 {
		return
	}
	if c.link != nil {
		_, _ = c.link.tls.Write(c.plain) // it goes to put, which takes all
	} else {
		c.put(c.plain)
	}
	c.plain = c.plain[:0]
}

// put adds to unsent, which is the end of own.
func (c *conn) put(p []byte) {
	if len(c.unsent) == 0 {
		c.own = c.own[:0]
	}
	n := len(c.unsent)
	c.own = append(c.own, p...)
	c.unsent = c.own[len(c.own)-n-len(p):]
}

// drain writes unsent, as far as the socket takes it.
func (c *conn) drain() error {
	for len(c.unsent) > 0 {
		n, err := write(c.fd, c.unsent)
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		c.unsent = c.unsent[n:]
	}
	return nil
}

// sending tells whether not all of its requests are out.
func (c conn) sending() bool {
	return c.fd >= 0 && (len(c.unsent) > 0 || c.h2 != nil && len(c.h2.waiting) > 0)
}

// errEarly is an answer that did not wait for the request's end: a refusal.
var errEarly = errors.New("answered before the request was sent")
