package middlewaretest

import (
	"net/http"
	"strconv"
	"strings"
)

// responseWriter is the handler's side of a call. Small bodies are held back
// until the handler flushes or returns, as net/http does, so that they get
// their length in the head.
type responseWriter struct {
	call     *call
	header   http.Header
	trailers []string // as declared before the head
	status   int      // 0 until WriteHeader
	sent     bool     // the head
	held     []byte
	declared int64 // Content-Length; -1 where the handler gave none
	written  int64
}

const holdBack = 2 << 10

var _ http.Flusher = (*responseWriter)(nil)

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= 100 && status < 200 {
		w.give(w.call.informs, inform{status, w.header.Clone()})
		return
	}
	w.status = status
	if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil {
		w.declared = n
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if w.declared >= 0 && w.written+int64(len(p)) > w.declared {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.call.method == http.MethodHead {
		return len(p), nil
	}
	if !w.sent && len(w.held)+len(p) <= holdBack {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.Flush()
	return w.call.out.Write(p)
}

// Flush sends the head and what was held back.
func (w *responseWriter) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.sendHead()
	if len(w.held) > 0 {
		_, _ = w.call.out.Write(w.held) // the next Write says that it broke
		w.held = nil
	}
}

func (w *responseWriter) sendHead() {
	if w.sent {
		return
	}
	w.sent = true
	head := w.header.Clone()
	for name := range head {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			delete(head, name)
		}
	}
	for _, names := range head["Trailer"] {
		for name := range strings.SplitSeq(names, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			w.trailers = append(w.trailers, name)
			delete(head, name)
		}
	}
	w.give(w.call.heads, inform{w.status, head})
}

// finish is the handler's return.
func (w *responseWriter) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent && w.declared < 0 && len(w.header["Trailer"]) == 0 && !bodyless("", w.status) {
		w.header.Set("Content-Length", strconv.FormatInt(w.written, 10))
		w.declared = w.written
	}
	w.Flush()
	if w.declared > w.written && !bodyless(w.call.method, w.status) {
		w.call.end(errShort)
		return
	}
	trailer := http.Header{}
	for name, values := range w.header {
		if t, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			trailer[t] = values
		}
	}
	for _, name := range w.trailers {
		if values, ok := w.header[name]; ok {
			trailer[name] = values
		}
	}
	w.call.trailer = trailer
	_ = w.call.out.Close()
}

// give hands over to the try, or gives up when it is gone.
func (w *responseWriter) give(to chan inform, i inform) {
	select {
	case to <- i:
	case <-w.call.ended:
	}
}
