package conformance

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client writes bytes and reads responses.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{nc, bufio.NewReaderSize(nc, 1<<17)}
}

// send writes everything at once. A server that closes amid it is no failure:
// what it has said is read afterwards.
func (c *client) send(s string) {
	_, _ = io.WriteString(c, s)
}

// endSending is the end of what the client says; it goes on listening.
func (c *client) endSending() {
	if half, ok := c.Conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// next is the next response in short: the status, and the reason where the
// sidecar has answered by itself, else the body; "closed" where the connection
// has ended, "reset" where it broke.
func (c *client) next(method string) string {
	if _, err := c.r.Peek(1); err != nil {
		return ended(err)
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return "no response: " + err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	what := []string{strconv.Itoa(resp.StatusCode)}
	if len(body) > 0 {
		what = append(what, said(body))
	}
	if err != nil {
		what = append(what, "broken")
	}
	return strings.Join(what, " ")
}

func ended(err error) string {
	var t net.Error
	switch {
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.As(err, &t) && t.Timeout():
		return "silence"
	}
	return "reset"
}

// said is the reason of a local answer, whose form is checked, and any other
// body as it is.
func said(body []byte) string {
	var local struct {
		Error, Reason string
		RequestID     string `json:"request_id"`
	}
	if len(body) == 0 || body[0] != '{' || json.Unmarshal(body, &local) != nil || local.Reason == "" {
		return string(body)
	}
	if local.Error == "" || len(local.RequestID) != 36 {
		return fmt.Sprintf("%s without error or request_id: %s", local.Reason, body)
	}
	return local.Reason
}
