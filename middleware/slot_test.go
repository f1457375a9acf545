package middleware

import "testing"

func TestSlotIsZeroForEachRequestAndKeepsItsMemory(t *testing.T) {
	x := NewExchange(nil)
	a, b := NewSlot[int](), NewSlot[string]()
	pa := a.In(x)
	*pa, *b.In(x) = 7, "seven"
	if *a.In(x) != 7 || *b.In(x) != "seven" || a.In(x) != pa {
		t.Errorf("within a request: %d, %q", *a.In(x), *b.In(x))
	}
	x.Reset()
	if *b.In(x) != "" || *a.In(x) != 0 { // in another order than before
		t.Errorf("at the next request: %d, %q", *a.In(x), *b.In(x))
	}
	if a.In(x) != pa {
		t.Error("the memory was not used again")
	}
}

func TestSlotsOfOneTypeAreApart(t *testing.T) {
	x := NewExchange(nil)
	a, b := NewSlot[int](), NewSlot[int]()
	*a.In(x), *b.In(x) = 1, 2
	if *a.In(x) != 1 || *b.In(x) != 2 {
		t.Errorf("%d and %d", *a.In(x), *b.In(x))
	}
}

func TestSlotsOfReplacedChainsAreForgotten(t *testing.T) {
	x := NewExchange(nil)
	for range 10 * maxSlots {
		*NewSlot[int]().In(x) = 1
		x.Reset()
	}
	if n := len(x.slots.entries); n > maxSlots+1 {
		t.Errorf("%d slots are remembered, want %d at most", n, maxSlots+1)
	}
}

func TestSlotsInUseSurviveTheBound(t *testing.T) {
	x := NewExchange(nil)
	slots := make([]*Slot[int], 2*maxSlots)
	for i := range slots {
		slots[i] = NewSlot[int]()
		*slots[i].In(x) = i
	}
	for i, s := range slots {
		if *s.In(x) != i {
			t.Errorf("slot %d holds %d", i, *s.In(x))
		}
	}
}

func TestSlotAllocatesNothingInSteadyState(t *testing.T) {
	x := NewExchange(nil)
	slots := []*Slot[[4]int]{NewSlot[[4]int](), NewSlot[[4]int](), NewSlot[[4]int]()}
	use := func() {
		x.Reset()
		for _, s := range slots {
			s.In(x)[0]++
		}
	}
	use()
	if n := testing.AllocsPerRun(100, use); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
