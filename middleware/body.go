package middleware

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// ErrReplayLost is what a try reads whose share of the request body is gone:
// more was read by an earlier try than was kept.
var ErrReplayLost = errors.New("request body was read before and not kept")

// Body is a request body: one stream from the client, which several tries may
// read, each from the beginning, as long as what was read is kept. Nothing is
// kept unless KeepForReplay says so.
//
// Each try reads through its own BodyReader. Whichever reader gets to the end
// of what was read so far reads on from the client; the others then find it in
// what was kept. So no read has to be interrupted when a try is given up.
type Body struct {
	source sync.Mutex // held by the one reader that reads from src

	mu    sync.Mutex // guards what follows
	src   io.Reader  // nil: the request has no body
	kept  []byte     // the beginning of the stream, while total == len(kept) or limit is not passed
	limit int
	total int64 // bytes that came from src
	err   error // what src ended with
}

// Reset makes b a new body that comes from src, nil for none. Engines call it.
func (b *Body) Reset(src io.Reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.src, b.kept, b.limit, b.total, b.err = src, b.kept[:0], 0, 0, nil
	if cap(b.kept) > 64<<10 {
		b.kept = nil
	}
}

// Wrap puts a reader of the middleware's own between the client and the tries:
// to count, to limit, to transform. It is to be called before the router.
func (b *Body) Wrap(f func(io.Reader) io.Reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src != nil {
		b.src = f(b.src)
	}
}

// KeepForReplay keeps what is read as long as it is at most n bytes in all, so
// that another try can send it again. The largest n that was asked for counts.
// It is to be called before the router.
func (b *Body) KeepForReplay(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total == 0 {
		b.limit = max(b.limit, n)
	}
}

// None reports whether the request has no body.
func (b *Body) None() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.src == nil
}

// Replayable reports whether another try could still send the body whole.
func (b *Body) Replayable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.src == nil || b.total == int64(len(b.kept))
}

// Read is the number of bytes that came from the client so far.
func (b *Body) Read() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// AddRead counts bytes that came from the client behind the request: after a
// 101, say. Engines call it.
func (b *Body) AddRead(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += n
}

// Err is what the client's stream ended with: nil while it goes on, io.EOF
// when it is complete.
func (b *Body) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src == nil {
		return io.EOF
	}
	return b.err
}

// BodyReader is one try's way through a Body.
type BodyReader struct {
	body      *Body
	off       int64
	abandoned atomic.Bool // its try is over: what it still reads is for the others
}

// Read reads from what was kept, then from the client. It may block while
// another, abandoned reader waits for the client.
func (r *BodyReader) Read(p []byte) (int, error) {
	b := r.body
	for {
		if n, err := b.readKept(r, p); n > 0 || err != nil {
			return n, err
		}
		b.source.Lock()
		b.mu.Lock()
		behind, src := r.off < b.total || b.err != nil, b.src
		b.mu.Unlock()
		if behind { // somebody else has read meanwhile
			b.source.Unlock()
			continue
		}
		n, err := src.Read(p)
		b.mu.Lock()
		b.note(r, p[:n], err)
		b.mu.Unlock()
		b.source.Unlock()
		return n, err
	}
}

func (b *Body) readKept(r *BodyReader, p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.src == nil:
		return 0, io.EOF
	case r.off < int64(len(b.kept)):
		n := copy(p, b.kept[r.off:])
		r.off += int64(n)
		return n, nil
	case r.off < b.total:
		return 0, ErrReplayLost
	}
	return 0, b.err
}

// Buffered is the number of bytes that Read gives without waiting for the
// client, as far as that is known.
func (r *BodyReader) Buffered() int {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.off < int64(len(b.kept)) {
		return len(b.kept) - int(r.off)
	}
	if s, ok := b.src.(interface{ Buffered() int }); ok && r.off == b.total && b.err == nil {
		return s.Buffered()
	}
	return 0
}

// Complete reports whether the whole body has come from the client, trailers
// too, so that Read never waits for it; false where that is not known.
func (r *BodyReader) Complete() bool {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.src == nil || b.err != nil {
		return b.src == nil || errors.Is(b.err, io.EOF)
	}
	s, ok := b.src.(interface{ Complete() bool })
	return ok && s.Complete()
}

// note takes down what r has read from the client.
func (b *Body) note(r *BodyReader, p []byte, err error) {
	intact := b.total == int64(len(b.kept))
	b.total += int64(len(p))
	r.off += int64(len(p))
	b.err = err
	// What an abandoned reader gets hold of would be lost to the try that came
	// after it: it is kept over the limit, by at most one read.
	if intact && (b.total <= int64(b.limit) || r.abandoned.Load()) {
		b.kept = append(b.kept, p...)
	}
}
