package middleware

// Slot is a place in every exchange for what one handler keeps from Serve to
// Done: a pointer to a zero T for each exchange. Its memory is used again by
// the connection's next exchange, so that it costs no allocation there. A
// handler makes its slot with NewSlot when it is built.
type Slot[T any] struct {
	_ byte // a size, so that every slot has an address of its own
}

// NewSlot makes a slot.
func NewSlot[T any]() *Slot[T] { return &Slot[T]{} }

// In is the slot's value in the exchange, zero at first.
func (s *Slot[T]) In(x *Exchange) *T { return slotIn[T](&x.slots, s) }

// InTry is the slot's value in the attempt, zero at first.
func (s *Slot[T]) InTry(a *Attempt) *T { return slotIn[T](&a.slots, s) }

// slots is the values of one exchange or attempt. A chain has few handlers, so
// that a search in a slice is faster than a map.
type slots struct {
	entries []slotEntry
	used    int // entries[:used] are of this request
}

type slotEntry struct {
	key   any // *Slot[T]
	value any // *T
}

// maxSlots bounds what one exchange remembers of slots that reloads have left
// behind.
const maxSlots = 32

func (s *slots) reset() {
	s.used = 0
	if len(s.entries) > maxSlots {
		clear(s.entries)
		s.entries = s.entries[:0]
	}
}

func slotIn[T any](s *slots, key *Slot[T]) *T {
	for i := range s.entries {
		if s.entries[i].key != any(key) {
			continue
		}
		v, _ := s.entries[i].value.(*T)
		if i >= s.used { // of an earlier request
			var zero T
			*v = zero
			s.entries[i], s.entries[s.used] = s.entries[s.used], s.entries[i]
			s.used++
		}
		return v
	}
	v := new(T)
	s.entries = append(s.entries, slotEntry{key, v})
	last := len(s.entries) - 1
	s.entries[last], s.entries[s.used] = s.entries[s.used], s.entries[last]
	s.used++
	return v
}
