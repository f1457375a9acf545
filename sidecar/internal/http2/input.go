package http2

import (
	"errors"
	"net"
	"os"
	"sync"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/netio"
)

// inputSize is room for a frame with as much data as may come.
const inputSize = frameSize + 4<<10

var inputs = sync.Pool{New: func() any { return new([inputSize]byte) }}

// input is what has come and was not looked at yet. While nothing comes it has
// no memory.
type input struct {
	nc    *netio.Conn
	buf   *[inputSize]byte
	early []byte // what was read before we came
	r, w  int

	scratch []byte
}

func (in *input) give(early []byte) { in.early = append([]byte(nil), early...) }

func (in *input) buffered() int { return len(in.early) + in.w - in.r }

// Take is netio.Memory's.
func (in *input) Take() []byte {
	if in.buf == nil {
		in.buf = inputs.Get().(*[inputSize]byte)
	}
	return in.buf[:]
}

// Give is netio.Memory's.
func (in *input) Give() { in.release() }

func (in *input) release() {
	if in.buf != nil {
		inputs.Put(in.buf)
		in.buf = nil
	}
}

// fill waits for bytes, of which there are none.
func (in *input) fill() error {
	in.r, in.w = 0, 0
	n, err := in.nc.ReadLazy(in)
	in.w = n
	if n > 0 {
		return nil
	}
	return err
}

// Read is io.Reader's. What is asked for in one large piece goes where it is
// wanted at once.
func (in *input) Read(p []byte) (int, error) {
	if len(in.early) > 0 {
		n := copy(p, in.early)
		if in.early = in.early[n:]; len(in.early) == 0 {
			in.early = nil
		}
		return n, nil
	}
	if in.r == in.w {
		if len(p) >= inputSize/4 {
			return in.nc.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n, nil
}

// full reads all of p.
func (in *input) full(p []byte) error {
	for len(p) > 0 {
		n, err := in.Read(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// piece gives the next n bytes, at most frameSize, in one piece: valid until the
// next read.
func (in *input) piece(n int) ([]byte, error) {
	if len(in.early) > 0 || in.w-in.r < n {
		if cap(in.scratch) < n {
			in.scratch = make([]byte, n)
		}
		b := in.scratch[:n]
		if n > keptScratch {
			in.scratch = nil
		}
		return b, in.full(b)
	}
	b := in.buf[in.r : in.r+n]
	in.r += n
	return b, nil
}

// keptScratch is the size above which the memory of a frame that did not come in
// one piece is not kept.
const keptScratch = 1 << 10

// skip passes over n bytes.
func (in *input) skip(n int) error {
	for n > 0 {
		if in.buffered() == 0 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		if k := min(n, len(in.early)); k > 0 {
			in.early = in.early[k:]
			n -= k
			continue
		}
		k := min(n, in.w-in.r)
		in.r += k
		n -= k
	}
	return nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
