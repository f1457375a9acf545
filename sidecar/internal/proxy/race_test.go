//go:build race

package proxy

// underRace: with the race detector, sync.Pool throws a part of what it is given
// away, so that allocations cannot be counted.
const underRace = true
