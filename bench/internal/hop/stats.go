package hop

import "slices"

// Spread is a figure over rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread is the median of values, the mean of the two in the middle where
// their number is even, and the range; zero without values.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(values))
	return Spread{Median: (s[(len(s)-1)/2] + s[len(s)/2]) / 2, Min: s[0], Max: s[len(s)-1]}
}

// ratios divides a peer's figure of each round by the base's of the same
// round. Rounds that one of them lacks, or in which the base is zero, are left
// out: what the machine did meanwhile is then not the same for both.
func ratios(figures, base map[int]float64) []float64 {
	var all []float64
	for round, f := range figures {
		if b := base[round]; b != 0 {
			all = append(all, f/b)
		}
	}
	return all
}

// Figure is one figure of a peer: absolute, and as its ratio to nginx's.
type Figure struct {
	Absolute Spread `json:"absolute"`
	Ratio    Spread `json:"ratio"`
	Rounds   int    `json:"rounds"` // that the ratio is of
}

func figure(figures, base map[int]float64) Figure {
	var absolute []float64
	for _, f := range figures {
		absolute = append(absolute, f)
	}
	r := ratios(figures, base)
	return Figure{Absolute: spread(absolute), Ratio: spread(r), Rounds: len(r)}
}
