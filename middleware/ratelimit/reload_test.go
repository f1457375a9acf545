package ratelimit

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReloadKeepsUnchangedBuckets(t *testing.T) {
	tests := map[string]struct {
		before, after string
		want          int // requests that pass after the reload
	}{
		"nothing changed":       {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10}", 6},
		"other response fields": {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10, headers: always}", 6},
		"a larger burst":        {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 15}", 11},
		"a smaller burst":       {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 5}", 1},
		"a much smaller burst":  {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 2}", 0},
		"a higher rate":         {"{rate: 1/h, burst: 10}", "{rate: 1/m, burst: 10}", 6},
		"a lower rate":          {"{rate: 1/m, burst: 10}", "{rate: 1/h, burst: 10}", 6},
		"by path":               {"{rate: 1/h, burst: 10, key: path}", "{rate: 1/m, burst: 10, key: path}", 6},
		"another key":           {"{rate: 1/h, burst: 10}", "{rate: 1/h, burst: 10, key: path}", 10},
		"another id":            {"{rate: 1/h, burst: 10}", "{id: other, rate: 1/h, burst: 10}", 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.before)
				if got := s.askN(4, nil); got != 4 {
					t.Fatalf("%d passed, want 4", got)
				}
				s.reload(t, tt.after)
				if got := s.askN(20, nil); got != tt.want {
					t.Errorf("%d passed after the reload, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestAChangedRateIsInForceAtOnceForRequestsOfBothGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{rate: 1/h, burst: 1}")
		s.askN(1, nil)
		old := s.chain
		next, g := s.build(t, "{rate: 1/s, burst: 1}")
		time.Sleep(2 * time.Second)
		if s.ask(nil) {
			t.Error("what was only built is in force: it may be refused as a whole")
		}
		s.chain = next
		if s.ask(nil) {
			t.Error("tokens came from nowhere")
		}
		time.Sleep(time.Second)
		s.chain = old // a request that began before the reload
		if !s.ask(nil) {
			t.Error("the former rate is in force")
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}
