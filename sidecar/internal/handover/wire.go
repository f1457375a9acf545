package handover

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// State is what a successor has to know.
type State struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Identity are the values by which the mesh knows the process, by their
	// keys in the configuration. A successor must have the same.
	Identity map[string]string `json:"identity"`
	// Services are those that the control plane has said something of.
	Services []string `json:"services,omitempty"`
	// Registered says that the app is.
	Registered bool `json:"registered,omitempty"`
	// Sockets are those that are passed, in the order of their descriptors.
	Sockets []SocketInfo `json:"sockets"`
}

// SocketInfo is what a socket is for.
type SocketInfo struct {
	Name    string `json:"name"`
	Address string `json:"address"` // as it is in the configuration
}

// The kinds of messages.
const (
	isState   = "state"
	isWaiting = "waiting"
	isReady   = "ready"
	isTake    = "take"
	isTaken   = "taken"
	isFailed  = "failed"
)

// message is one line.
type message struct {
	Is    string `json:"is"`
	Text  string `json:"text,omitempty"` // of waiting and failed
	State *State `json:"state,omitempty"`
}

// maxLine bounds one message, in bytes: thousands of services fit.
const maxLine = 4 << 20

// writeTimeout is how long the other side may not read.
const writeTimeout = 5 * time.Second

// line is a connection on which messages are sent.
type line struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex // of who sends
}

func newLine(c net.Conn) *line { return &line{conn: c, in: bufio.NewReader(c)} }

func (l *line) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= maxLine {
		return fmt.Errorf("a message of %d bytes is larger than the %d that may be", len(b), maxLine)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err = l.conn.Write(append(b, '\n'))
	return err
}

// receive reads one message. io.EOF: the other side is gone.
func (l *line) receive(v any) error {
	var b []byte
	for {
		piece, err := l.in.ReadSlice('\n')
		b = append(b, piece...)
		switch {
		case len(b) > maxLine:
			return fmt.Errorf("a message is larger than %d bytes", maxLine)
		case err == nil:
			if err := json.Unmarshal(b, v); err != nil {
				return fmt.Errorf("not a message: %w", err)
			}
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(b) > 0:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// interrupt has a receive that waits return once done is closed. The returned
// function ends that.
func (l *line) interrupt(done <-chan struct{}) (end func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	_ = l.conn.SetReadDeadline(time.Time{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		case <-over:
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
