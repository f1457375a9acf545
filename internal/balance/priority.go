package balance

// health is how many endpoints of a level there are, and can be used.
type health struct{ healthy, total int }

// shares is how many percent of the requests each level gets, and whether it
// takes healthy and unhealthy endpoints alike ("panic"). It is Envoy's way:
//
//	health(P)               = min(100, overprovisioning * healthy(P) / total(P))
//	normalized total health = min(100, sum of health)
//	share(P)                = min(what is left, health(P) * 100 / normalized total health)
//
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority).
// Shares are rounded to the nearest percent, as in the tables there; what is
// then left goes to the first level with a healthy endpoint.
//
// A level is in panic when less than threshold percent of its endpoints are
// healthy and all levels together do not reach a normalized total health of 100
// (…/load_balancing/panic_threshold). When all are, each gets as many
// requests as it has endpoints, and with a threshold of 0 none ever is.
func shares(levels []health, overprovisioning, threshold int) (share []int, panics []bool) {
	share, panics = make([]int, len(levels)), make([]bool, len(levels))
	if len(levels) == 0 {
		return share, panics
	}
	scores, sum, endpoints := make([]int, len(levels)), 0, 0
	for i, l := range levels {
		scores[i] = min(100, overprovisioning*l.healthy/l.total)
		sum += scores[i]
		endpoints += l.total
	}
	normalized := min(100, sum)
	inPanic := 0
	for i, l := range levels {
		panics[i] = normalized < 100 && 100*l.healthy < threshold*l.total
		if panics[i] {
			inPanic++
		}
	}
	if inPanic == len(levels) {
		for i, l := range levels {
			scores[i] = l.total
		}
		normalized = endpoints
	}
	left, first := 100, -1
	for i, s := range scores {
		if s == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		share[i] = min(left, (200*s+normalized)/(2*normalized))
		left -= share[i]
	}
	share[max(first, 0)] += left
	return share, panics
}
