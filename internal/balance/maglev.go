package balance

import (
	"github.com/cespare/xxhash/v2"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// maglev is PolicyConsistentHash: a table that says which endpoint a hash
// belongs to, made as in section 3.4 of "Maglev: A Fast and Reliable Software
// Network Load Balancer" (NSDI 2016). Each endpoint has a permutation of the
// table's entries that follows from its key alone, and they take turns, each as
// often as its weight, in taking the next entry of theirs that is free. When an
// endpoint goes, its entries are shared among the others, and few of the other
// entries change hands.
//
// The same endpoints make the same table everywhere: they are in the order of
// their keys, and nothing else goes in.
type maglev struct{ table []uint32 }

const free = ^uint32(0)

func newMaglev(size int, endpoints []*middleware.Endpoint, weights []uint64) *maglev {
	m := uint32(size) //nolint:gosec // at most maxTableSize
	p := make([]probe, len(endpoints))
	for i, e := range endpoints {
		h := xxhash.Sum64String(e.Key)
		p[i] = probe{
			at:   uint32(h % uint64(m)),          //nolint:gosec // less than m
			skip: uint32(mix(h)%uint64(m-1)) + 1, //nolint:gosec // less than m
		}
	}
	table := make([]uint32, m)
	for i := range table {
		table[i] = free
	}
	order := newRota(weights)
	for range m {
		i := order.next()
		table[p[i].take(table)] = i
	}
	return &maglev{table}
}

// probe walks the permutation of one endpoint: the table's size is a prime, so
// that every step leads through all entries.
type probe struct{ at, skip uint32 }

// take is the next free entry.
func (p *probe) take(table []uint32) uint32 {
	m := uint32(len(table)) //nolint:gosec // at most maxTableSize
	for {
		at := p.at
		if p.at += p.skip; p.at >= m {
			p.at -= m
		}
		if table[at] == free {
			return at
		}
	}
}

// pick takes the entry of r, and for another try those that follow: they are as
// good as random, and the same for each sidecar.
func (m *maglev) pick(r uint64, again int) int {
	n := uint64(len(m.table))
	return int(m.table[(r%n+uint64(again))%n]) //nolint:gosec // again is small
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014): a second hash out of the first.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// rota says whose turn it is: the k-th turn of an endpoint is due at (k+1/2)/w.
// It is a heap by that time, or a circle where weights are equal.
type rota struct {
	heap []due
	n, i uint32
}

type due struct {
	at, step float64
	endpoint uint32
}

func (a due) before(b due) bool {
	return a.at < b.at || a.at == b.at && a.endpoint < b.endpoint
}

func newRota(weights []uint64) *rota {
	r := &rota{n: uint32(len(weights))} //nolint:gosec // a length
	if equal(weights) {
		return r
	}
	for i, w := range weights {
		step := 1 / float64(w)
		r.heap = append(r.heap, due{step / 2, step, uint32(i)}) //nolint:gosec // a length
	}
	for i := len(r.heap)/2 - 1; i >= 0; i-- {
		r.down(i)
	}
	return r
}

func (r *rota) next() uint32 {
	if r.heap == nil {
		i := r.i
		if r.i++; r.i == r.n {
			r.i = 0
		}
		return i
	}
	top := &r.heap[0]
	i := top.endpoint
	top.at += top.step
	r.down(0)
	return i
}

func (r *rota) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(r.heap) {
			return
		}
		if right := least + 1; right < len(r.heap) && r.heap[right].before(r.heap[least]) {
			least = right
		}
		if !r.heap[least].before(r.heap[i]) {
			return
		}
		r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
		i = least
	}
}
