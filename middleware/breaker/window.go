package breaker

import "sync/atomic"

// slots is how many parts a window has. It slides by one of them.
const slots = 10

// window counts calls of the last while, without a lock: each part is one word,
// which is changed at once, so that no count is torn and none is lost when a
// part begins anew.
//
//	epoch (22 bits) | calls (14) | failed (14) | slow (14)
//
// The epoch is the number of the part on the clock, modulo 2^22: a part that
// says another one is old, and counts nothing. When a count would not fit,
// all three are halved, which keeps their proportion.
type window [slots]atomic.Uint64

const (
	countBits = 14
	countMask = 1<<countBits - 1
	epochBits = 22
	epochMask = 1<<epochBits - 1
)

// counts is the sum of a window, or of one part.
type counts struct{ calls, failed, slow uint64 }

func pack(epoch uint64, c counts) uint64 {
	return epoch<<(3*countBits) | c.calls<<(2*countBits) | c.failed<<countBits | c.slow
}

func unpack(w uint64) (epoch uint64, c counts) {
	return w >> (3 * countBits), counts{w >> (2 * countBits) & countMask, w >> countBits & countMask, w & countMask}
}

// add counts a call that has ended in the epoch.
func (w *window) add(epoch uint64, failed, slow bool) {
	part := &w[epoch%slots]
	epoch &= epochMask
	for {
		old := part.Load()
		of, c := unpack(old)
		if of != epoch {
			c = counts{}
		}
		if c.calls == countMask {
			c = counts{c.calls / 2, c.failed / 2, c.slow / 2}
		}
		c.calls++
		if failed {
			c.failed++
		}
		if slow {
			c.slow++
		}
		if part.CompareAndSwap(old, pack(epoch, c)) {
			return
		}
	}
}

// sum is what was counted in the last parts, up to that of the epoch.
func (w *window) sum(epoch uint64) (all counts) {
	for i := range w {
		of, c := unpack(w[i].Load())
		if (epoch-of)&epochMask < slots {
			all.calls += c.calls
			all.failed += c.failed
			all.slow += c.slow
		}
	}
	return all
}

// reset forgets everything.
func (w *window) reset() {
	for i := range w {
		w[i].Store(0)
	}
}
