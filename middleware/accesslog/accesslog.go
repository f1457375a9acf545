// Package accesslog is the middleware that writes one line for every exchange
// when it has ended, however it ended.
//
// Lines are handed to one writer per destination, which all entries with that
// destination share and which outlives reloads. The request's goroutine never
// waits for it: when its queue is full, the line is dropped and counted. What
// came from outside is escaped, so that no control character reaches the log
// as it is, and no value can look like another line or field.
package accesslog

import (
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Kind is accesslog in configuration files.
var Kind = middleware.NewKind("accesslog", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	w := middleware.State(e.Shared("accesslog"), "writer/"+c.File, func() *Writer { return NewWriter(c.File, e.Logger) })
	if err := w.register(e.Metrics); err != nil {
		return middleware.Parts{}, err
	}
	return middleware.Parts{Request: New(c, e.Direction, w)}, nil
}

// Log is the middleware.
type Log struct {
	config    Config
	direction string
	writer    *Writer
	slot      *middleware.Slot[record]
}

var _ middleware.Middleware = (*Log)(nil)

// New makes the middleware of a valid configuration; lines go to w.
func New(c Config, direction string, w *Writer) *Log {
	return &Log{config: c, direction: direction, writer: w, slot: middleware.NewSlot[record]()}
}

// Wrap makes the handler.
func (l *Log) Wrap(next middleware.Handler) middleware.Handler { return &handler{l, next} }

// record is what is kept of one exchange until its end.
type record struct {
	err error // of the chain further in
}

type handler struct {
	*Log
	next middleware.Handler
}

var _ middleware.Doner = (*handler)(nil)

func (h *handler) Serve(x *middleware.Exchange) error {
	r := h.slot.In(x)
	r.err = h.next.Serve(x)
	return r.err
}

// Done writes the line.
func (h *handler) Done(x *middleware.Exchange) {
	l := getLine()
	l.buf = h.append(l.buf, x, time.Now())
	h.writer.put(x.Request.Peer.Addr.Port(), l.buf)
	putLine(l)
}

// errorOf is what the log knows more than the client: why the response broke
// off, or what is behind a local reply.
func errorOf(x *middleware.Exchange, r *record) error {
	if err := x.Err(); err != nil {
		return err
	}
	if x.Local() {
		return r.err
	}
	return nil
}
