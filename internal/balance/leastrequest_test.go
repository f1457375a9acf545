package balance

import "testing"

// P2C with two endpoints compares both: the busier one is never taken.
func TestOfTwoTheBusierIsNeverTaken(t *testing.T) {
	list := healthy(2)
	b := build(t, with(PolicyLeastRequest), list, Options{})
	for a := range int64(5) {
		for c := range int64(5) {
			list[0].Stats.Active.Store(a)
			list[1].Stats.Active.Store(c)
			got := count(t, b, 50)
			if a < c && got["e0001"] > 0 || a > c && got["e0000"] > 0 {
				t.Errorf("active %d and %d: got %v", a, c, got)
			}
			if a == c && len(got) != 2 {
				t.Errorf("active %d both: got %v, want both", a, got)
			}
		}
	}
}

// With choices among many, the endpoint that is busiest of all is never taken:
// what it is compared with is always another one.
func TestTheBusiestOfManyIsNeverTaken(t *testing.T) {
	for _, choices := range []int{2, 3, 5} {
		c := with(PolicyLeastRequest)
		c.LeastRequest.Choices = choices
		list := healthy(20)
		for i := range list {
			list[i].Stats.Active.Store(int64(i))
		}
		got := count(t, build(t, c, list, Options{}), 5000)
		if got["e0019"] > 0 {
			t.Errorf("%d choices: the busiest got %d requests", choices, got["e0019"])
		}
		if got["e0000"] <= got["e0010"] {
			t.Errorf("%d choices: the least busy got %d, one in the middle %d", choices, got["e0000"], got["e0010"])
		}
	}
}

// P(the least busy of n is among k by chance) = 1-(1-1/n)^k, with the first two
// different ones.
func TestChoicesAreAsManyAsConfigured(t *testing.T) {
	c := with(PolicyLeastRequest)
	c.LeastRequest.Choices = 4
	list := healthy(10)
	for i := range list {
		list[i].Stats.Active.Store(int64(i))
	}
	const n = 50_000
	got := count(t, build(t, c, list, Options{Rand: seeded(6)}), n)
	near(t, "the least busy", got["e0000"], n, 1-0.8*0.9*0.9)
}

// In balance, loads are as the weights: an endpoint of weight 3 has three times
// the requests under way.
func TestLoadIsRelativeToTheWeight(t *testing.T) {
	list := weighted(3, 1)
	b := build(t, with(PolicyLeastRequest), list, Options{})
	list[0].Stats.Active.Store(30)
	list[1].Stats.Active.Store(11)
	light := count(t, b, 1000)
	list[1].Stats.Active.Store(9)
	heavy := count(t, b, 1000)
	// One of both is only taken where it was drawn twice: 9 in 16, and 1 in 16.
	if light["e0001"] > 150 || heavy["e0001"] < 300 {
		t.Errorf("30:11 gives the lighter one %d of 1000, 30:9 gives it %d", light["e0001"], heavy["e0001"])
	}
}

func TestBiasOfZeroLeavesRequestsUnderWayOut(t *testing.T) {
	c := with(PolicyLeastRequest)
	c.LeastRequest.ActiveRequestBias = 0
	list := weighted(3, 1)
	list[0].Stats.Active.Store(1000)
	const n = 20_000
	got := count(t, build(t, c, list, Options{Rand: seeded(7)}), n)
	near(t, "the heavier one", got["e0000"], n, 0.75)
}

func TestBiasSaysHowMuchRequestsUnderWayCount(t *testing.T) {
	// Twice the weight, 1.5 times the requests: less busy at a bias of 1, busier
	// at one of 2, where the square of 1.5 exceeds 2.
	for bias, want := range map[float64]string{1: "e0000", 2: "e0001"} {
		c := with(PolicyLeastRequest)
		c.LeastRequest.ActiveRequestBias = bias
		c.LeastRequest.Choices = 16
		list := weighted(2, 1)
		list[0].Stats.Active.Store(15)
		list[1].Stats.Active.Store(10)
		if got := count(t, build(t, c, list, Options{}), 1000); got[want] < 980 {
			t.Errorf("bias %v: got %v, want %s almost always", bias, got, want)
		}
	}
}
