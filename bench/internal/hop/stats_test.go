package hop

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   Spread
	}{
		"none": {nil, Spread{}},
		"one":  {[]float64{3}, Spread{3, 3, 3}},
		"two":  {[]float64{4, 2}, Spread{3, 2, 4}},
		"odd":  {[]float64{9, 1, 5}, Spread{5, 1, 9}},
		"even": {[]float64{8, 1, 2, 6}, Spread{4, 1, 8}},
	} {
		if diff := cmp.Diff(c.want, spread(c.values)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	values := []float64{3, 1, 2}
	spread(values)
	if diff := cmp.Diff([]float64{3, 1, 2}, values); diff != "" {
		t.Errorf("spread has sorted its argument: %s", diff)
	}
}

// The median of ratios is not the ratio of medians: each round is compared
// with itself.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	got := figure(map[int]float64{0: 10, 1: 40, 2: 12}, map[int]float64{0: 10, 1: 20, 2: 8})
	want := Figure{Absolute: Spread{12, 10, 40}, Ratio: Spread{1.5, 1, 2}, Rounds: 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRoundsWithoutABaseAreLeftOut(t *testing.T) {
	got := figure(map[int]float64{0: 10, 1: 30, 3: 5}, map[int]float64{1: 10, 2: 10, 3: 0})
	want := Figure{Absolute: Spread{10, 5, 30}, Ratio: Spread{3, 3, 3}, Rounds: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if none := figure(map[int]float64{0: 1}, nil); none.Rounds != 0 || math.IsNaN(none.Ratio.Median) || math.IsInf(none.Ratio.Median, 0) {
		t.Errorf("without any base: %+v", none)
	}
}
