package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// untilDone is a part that says when it has ended.
func untilDone(name string, ended *[]string, takes time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(takes) // to end
		*ended = append(*ended, name)
		return ctx.Err()
	}
}

func TestGroupStopsPartsOneAfterAnotherInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		var g Group
		g.Add("store", untilDone("store", &ended, 0))
		g.Add("xds", untilDone("xds", &ended, 2*time.Second))
		g.Add("listener", untilDone("listener", &ended, 3*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if want := []string{"listener", "xds", "store"}; !slices.Equal(ended, want) {
			t.Errorf("ended in the order %v, want %v", ended, want)
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("took %v, want 6s: one waits for the other", took)
		}
	})
}

func TestGroupEndsWithItsFirstPart(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"without an error", nil, ""},
		{"with an error", boom, "job: boom"},
		{"canceled of its own accord", context.Canceled, "job: context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ended []string
			var g Group
			g.Add("before", untilDone("before", &ended, 0))
			g.Add("job", func(context.Context) error { return tt.err })
			g.Add("after", untilDone("after", &ended, 0))
			err := g.Run(t.Context())
			if got := text(err); got != tt.want {
				t.Errorf("Run: %q, want %q", got, tt.want)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("%v does not wrap %v", err, tt.err)
			}
			if want := []string{"after", "before"}; !slices.Equal(ended, want) {
				t.Errorf("ended %v, want %v", ended, want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestGroupJoinsErrorsOfStopping(t *testing.T) {
	var g Group
	g.Add("a", func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("did not end well")
	})
	g.Add("b", func(context.Context) error { return errors.New("failed") })
	err := g.Run(t.Context())
	if got, want := text(err), "b: failed\na: did not end well"; got != want {
		t.Errorf("Run: %q, want %q", got, want)
	}
}

func TestGroupHandsOnTheCauseAndTheValues(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	reason := errors.New("the reason")
	var g Group
	var cause error
	var value any
	g.Add("part", func(ctx context.Context) error {
		value = ctx.Value(key{})
		cancel(reason)
		<-ctx.Done()
		cause = context.Cause(ctx)
		return nil
	})
	if err := g.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !errors.Is(cause, reason) || value != "value" {
		t.Errorf("the part saw cause %v and value %v", cause, value)
	}
}

func TestEmptyGroupReturnsAtOnce(t *testing.T) {
	if err := (&Group{}).Run(t.Context()); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestErrorsNameTheirPart(t *testing.T) {
	var g Group
	g.Add("listen.xds", func(context.Context) error { return errors.New("address in use") })
	if err := g.Run(t.Context()); !strings.HasPrefix(text(err), "listen.xds: ") {
		t.Errorf("Run: %v", err)
	}
}
