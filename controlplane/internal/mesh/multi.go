package mesh

// multi is a map of keys to bags of values. Nearly every key has one value,
// which costs no bag then; a key with very many is as quick as any.
type multi[K, V comparable] struct {
	one  map[K]V
	more map[K]map[V]int // how often a value is there besides
}

func newMulti[K, V comparable]() multi[K, V] {
	return multi[K, V]{one: map[K]V{}, more: map[K]map[V]int{}}
}

func (m *multi[K, V]) add(k K, v V) {
	if _, taken := m.one[k]; !taken {
		m.one[k] = v
		return
	}
	if m.more[k] == nil {
		m.more[k] = map[V]int{}
	}
	m.more[k][v]++
}

// remove takes v away once.
func (m *multi[K, V]) remove(k K, v V) {
	rest := m.more[k]
	if rest[v] > 0 {
		m.take(k, v)
		return
	}
	if one, ok := m.one[k]; !ok || one != v {
		return
	}
	delete(m.one, k)
	for next := range rest {
		m.one[k] = next
		m.take(k, next)
		return
	}
}

// take takes v out of the bag of k.
func (m *multi[K, V]) take(k K, v V) {
	rest := m.more[k]
	if rest[v]--; rest[v] == 0 {
		delete(rest, v)
	}
	if len(rest) == 0 {
		delete(m.more, k)
	}
}

// each calls f for every value of k, in no order; for the first one perhaps
// twice.
func (m *multi[K, V]) each(k K, f func(V)) {
	v, ok := m.one[k]
	if !ok {
		return
	}
	f(v)
	for v := range m.more[k] {
		f(v)
	}
}
