package balance

// picker chooses among the endpoints of one level. It is called by many
// goroutines at once.
type picker interface {
	// pick is an index into the level's endpoints, or -1 where there is none to
	// take. r is the hash of the request's key, of use to who goes by it; again
	// counts the picks for the same attempt that went before and led to an
	// endpoint that was tried.
	pick(r uint64, again int) int
}

// lottery draws endpoints by their weights, which are scaled down for those that
// are in slow start.
type lottery struct {
	n     int
	alias []slot        // nil: all weigh the same
	warm  *warmup       // nil: none is in slow start
	bits  func() uint64 // 64 random ones
}

// slot is one of n equal parts of the weights' sum. It belongs to its own
// endpoint up to the threshold, and to another one from there.
type slot struct{ threshold, other uint32 }

func newLottery(weights []uint64, warm *warmup, bits func() uint64) *lottery {
	l := &lottery{n: len(weights), warm: warm, bits: bits}
	if !equal(weights) {
		l.alias = aliases(weights)
	}
	return l
}

// draw is an endpoint by chance.
func (l *lottery) draw() int {
	i := l.plain(l.bits())
	if l.warm == nil || !l.warm.on() {
		return i
	}
	now := l.warm.now()
	// An endpoint that is drawn and then passed over with a probability of one
	// minus its factor is taken as often as its scaled weight says.
	for range maxRedraws {
		if l.warm.admits(i, now, l.bits()) {
			break
		}
		i = l.plain(l.bits())
	}
	return i
}

// maxRedraws bounds the draws for one pick in slow start. What the bound leaves
// out is less than one in a thousand where a fifth of the draws is admitted.
const maxRedraws = 32

// pair is two endpoints by chance: two different ones where all weigh the same,
// otherwise they may be the same, so that each is among them by its weight.
func (l *lottery) pair() (first, second int) {
	if l.alias != nil || l.warm != nil && l.warm.on() {
		return l.draw(), l.draw()
	}
	r := l.bits()
	first = scale(uint32(r>>32), l.n)
	if l.n < 2 {
		return first, first
	}
	second = scale(uint32(r), l.n-1) //nolint:gosec // the lower half
	if second >= first {
		second++
	}
	return first, second
}

// plain turns random bits into an endpoint, without slow start.
func (l *lottery) plain(r uint64) int {
	i := scale(uint32(r>>32), l.n)
	if l.alias != nil {
		if s := l.alias[i]; r&(1<<32-1) >= uint64(s.threshold) {
			return int(s.other)
		}
	}
	return i
}

// scale maps 32 random bits evenly to 0 to n-1.
func scale(r uint32, n int) int { return int(uint64(r) * uint64(n) >> 32) } //nolint:gosec // n is a length

// aliases is the table of Walker's alias method, made as Vose does it ("A linear
// algorithm for generating random numbers with a given distribution", 1991):
// drawing by weight then takes one look.
func aliases(weights []uint64) []slot {
	n := uint64(len(weights))
	sum := uint64(0)
	for _, w := range weights {
		sum += w
	}
	// Weights have 32 bits and there are fewer endpoints than that: w*n fits.
	left := make([]uint64, n)
	small, large := make([]uint32, 0, n), make([]uint32, 0, n)
	for i, w := range weights {
		left[i] = w * n
		if left[i] < sum {
			small = append(small, uint32(i)) //nolint:gosec // a length
		} else {
			large = append(large, uint32(i)) //nolint:gosec // a length
		}
	}
	table := make([]slot, n)
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		table[s] = slot{threshold: uint32(float64(left[s]) / float64(sum) * (1 << 32)), other: l}
		if left[l] -= sum - left[s]; left[l] < sum {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, rest := range [][]uint32{small, large} {
		for _, i := range rest {
			table[i] = slot{threshold: 1<<32 - 1, other: i}
		}
	}
	return table
}

func equal(weights []uint64) bool {
	for _, w := range weights {
		if w != weights[0] {
			return false
		}
	}
	return true
}

// random is PolicyRandom.
type random struct{ *lottery }

func (r random) pick(uint64, int) int { return r.draw() }
