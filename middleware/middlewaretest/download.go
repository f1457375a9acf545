package middlewaretest

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// reasonOf says why a response broke off.
func reasonOf(x *middleware.Exchange, err error) middleware.Reason {
	switch {
	case errors.Is(err, middleware.ErrClientGone):
		return middleware.ReasonClientGone
	case errors.Is(err, middleware.ErrDeadline):
		return middleware.ReasonDeadline
	case errors.Is(err, middleware.ErrIdle):
		return middleware.ReasonIdleTimeout
	case x.Reason() != middleware.ReasonNone:
		return x.Reason()
	}
	return middleware.ReasonUpstreamReset
}

// download is the response's body at the client.
type download struct {
	stream   *stream
	response *http.Response
	ended    atomic.Bool
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.stream.incoming.Read(p)
	if err != nil {
		d.ended.Store(true)
		if ctx := d.stream.req.Context().Err(); ctx != nil && !errors.Is(err, io.EOF) {
			err = ctx
		}
	}
	return n, err
}

// Close before the end is the client going away.
func (d *download) Close() error {
	if !d.ended.Load() {
		d.stream.abort(middleware.ErrClientGone)
	}
	return d.stream.incoming.Close()
}

func sortedKeys(h http.Header) []string {
	var keys []string
	for k := range h {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}
