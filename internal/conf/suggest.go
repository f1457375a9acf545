package conf

import (
	"fmt"
	"strings"
)

// hint is what an unknown key's message says besides: the known key that it
// looks like, or all of them.
func hint(key string, known []string) string {
	if len(known) == 0 {
		return ": none is known here"
	}
	if near := Nearest(key, known); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ", known are " + strings.Join(known, ", ")
}

// Nearest is the word of known that s is most likely a misspelling of; empty
// if none is near.
func Nearest(s string, known []string) string {
	best, nearest := max(1, len(s)/3)+1, ""
	for _, k := range known {
		if d := distance(strings.ToLower(s), strings.ToLower(k), best); d < best {
			best, nearest = d, k
		}
	}
	return nearest
}

// distance is the number of letters to add, drop, change or swap with their
// neighbour to get from a to b (optimal string alignment); limit or more
// where it is at least limit.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) >= limit || len(y)-len(x) >= limit {
		return limit
	}
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
