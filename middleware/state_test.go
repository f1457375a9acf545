package middleware

import (
	"errors"
	"testing"
)

// kept is a state that knows whether it was closed.
type kept struct {
	closed int
	err    error
}

func (k *kept) Close() error { k.closed++; return k.err }

// sibling is another type of state.
type sibling struct{ kept }

func keptIn(t *testing.T, e Env, key string, want *kept) *kept {
	t.Helper()
	got := State(e, key, func() *kept { return &kept{} })
	if want != nil && got != want {
		t.Errorf("%s: another state than before", key)
	}
	return got
}

var stateEnv = Env{Direction: Inbound, ID: "limit"}

func TestStateIsKeptOverAReload(t *testing.T) {
	states := NewStates()
	one := states.NewGeneration()
	s := keptIn(t, stateEnv.In(one), "bucket", nil)
	keptIn(t, stateEnv.In(one), "bucket", s) // twice in one generation
	two := states.NewGeneration()
	keptIn(t, stateEnv.In(two), "bucket", s)
	if err := one.Close(); err != nil || s.closed != 0 {
		t.Errorf("closed %d times while it is used, %v", s.closed, err)
	}
	three := states.NewGeneration()
	keptIn(t, stateEnv.In(three), "bucket", s)
	if err := errors.Join(two.Close(), three.Close()); err != nil || s.closed != 1 {
		t.Errorf("closed %d times in the end, %v", s.closed, err)
	}
}

func TestStateThatIsNotUsedAnyMoreIsClosed(t *testing.T) {
	states := NewStates()
	one := states.NewGeneration()
	stays, goes := keptIn(t, stateEnv.In(one), "stays", nil), keptIn(t, stateEnv.In(one), "goes", nil)
	two := states.NewGeneration()
	keptIn(t, stateEnv.In(two), "stays", stays)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if stays.closed != 0 || goes.closed != 1 {
		t.Errorf("closed %d and %d times, want 0 and 1", stays.closed, goes.closed)
	}
	three := states.NewGeneration()
	if again := keptIn(t, stateEnv.In(three), "goes", nil); again == goes {
		t.Error("a closed state came back")
	}
	if err := errors.Join(two.Close(), three.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestStateIsApartByDirectionServiceIDAndKey(t *testing.T) {
	g := NewStates().NewGeneration()
	seen := map[*kept]string{}
	for name, e := range map[string]Env{
		"itself":    stateEnv,
		"direction": {Direction: Outbound, ID: "limit"},
		"service":   {Direction: Inbound, Service: "users", ID: "limit"},
		"id":        {Direction: Inbound, ID: "burst"},
	} {
		for _, key := range []string{"a", "b"} {
			s := keptIn(t, e.In(g), key, nil)
			if other, ok := seen[s]; ok {
				t.Errorf("%s/%s shares the state of %s", name, key, other)
			}
			seen[s] = name + "/" + key
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for s, name := range seen {
		if s.closed != 1 {
			t.Errorf("%s was closed %d times", name, s.closed)
		}
	}
}

func TestSharedStateIsOneForAllEntriesOfAKind(t *testing.T) {
	g := NewStates().NewGeneration()
	s := keptIn(t, stateEnv.In(g).Shared("log"), "file", nil)
	keptIn(t, Env{Direction: Gateway, Service: "users", ID: "second"}.In(g).Shared("log"), "file", s)
	if err := g.Close(); err != nil || s.closed != 1 {
		t.Errorf("closed %d times, %v", s.closed, err)
	}
}

func TestStateOfAnotherTypeIsAnotherState(t *testing.T) {
	states := NewStates()
	one := states.NewGeneration()
	old := keptIn(t, stateEnv.In(one), "bucket", nil)
	two := states.NewGeneration()
	fresh := State(stateEnv.In(two), "bucket", func() *sibling { return &sibling{} })
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if old.closed != 1 || fresh.closed != 0 {
		t.Errorf("closed %d and %d times, want 1 and 0", old.closed, fresh.closed)
	}
	three := states.NewGeneration()
	if State(stateEnv.In(three), "bucket", func() *sibling { return &sibling{} }) != fresh {
		t.Error("the end of the old type's state took the new one along")
	}
	if err := errors.Join(two.Close(), three.Close()); err != nil || fresh.closed != 1 {
		t.Errorf("closed %d times, %v", fresh.closed, err)
	}
}

func TestCloseOfAGenerationReportsEveryError(t *testing.T) {
	g := NewStates().NewGeneration()
	errA, errB := errors.New("a"), errors.New("b")
	State(stateEnv.In(g), "a", func() *kept { return &kept{err: errA} })
	State(stateEnv.In(g), "b", func() *kept { return &kept{err: errB} })
	if err := g.Close(); !errors.Is(err, errA) || !errors.Is(err, errB) {
		t.Errorf("got %v", err)
	}
}
