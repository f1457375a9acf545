package load

import (
	"bytes"
	"fmt"
	"strconv"
)

// maxHead is how long a response's head may be, in bytes.
const maxHead = 16 << 10

// http1 is the response of HTTP/1.1 that is being read.
type http1 struct {
	head    []byte // the beginning of a head that has not come whole
	body    int    // bytes of the body that are missing; only after the head
	inBody  bool
	failed  error // the response is complete, and not as expected
	waiting bool  // for a response
}

// feed takes what was read. done says that the response is complete; err that
// the connection is of no use any more. want is the expected size of the body.
func (c *http1) feed(p []byte, want int) (done bool, err error) {
	if !c.waiting {
		return false, fmt.Errorf("%d bytes that nobody asked for", len(p))
	}
	if !c.inBody {
		text := p
		if len(c.head) > 0 {
			c.head = append(c.head, p...)
			text = c.head
		}
		end := bytes.Index(text, []byte("\r\n\r\n"))
		if end < 0 {
			if len(text) > maxHead {
				return false, fmt.Errorf("the head of a response has no end within %d bytes", maxHead)
			}
			if len(c.head) == 0 {
				c.head = append(c.head, p...)
			}
			return false, nil
		}
		status, length, err := parseHead(text[:end+2])
		if err != nil {
			return false, err
		}
		c.inBody, c.body, c.failed = true, length, nil
		switch {
		case status != 200:
			c.failed = fmt.Errorf("status %d", status)
		case length != want:
			c.failed = fmt.Errorf("a body of %d bytes, expected %d", length, want)
		}
		p = text[end+4:]
	}
	if len(p) > c.body {
		return false, fmt.Errorf("%d bytes after the end of a response", len(p)-c.body)
	}
	if c.body -= len(p); c.body > 0 {
		return false, nil
	}
	c.head, c.inBody, c.waiting = c.head[:0], false, false
	return true, nil
}

var contentLength = []byte("content-length:")

// parseHead reads the status and Content-Length from a head, whose lines all
// end with CR LF. It is no judge of the rest.
func parseHead(head []byte) (status, length int, err error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, 0, fmt.Errorf("not a status line of HTTP/1.1: %.40q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("not a status line of HTTP/1.1: %.40q", line)
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) < len(contentLength) || line[0]|0x20 != 'c' || !bytes.EqualFold(line[:len(contentLength)], contentLength) {
			continue
		}
		length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):])))
		if err != nil || length < 0 {
			return 0, 0, fmt.Errorf("not a Content-Length: %.60q", line)
		}
		return status, length, nil
	}
	return 0, 0, fmt.Errorf("status %d, and no Content-Length", status)
}
