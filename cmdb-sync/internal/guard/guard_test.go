package guard_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestGuardsSayWhatTheySawAndTheirLimit(t *testing.T) {
	healthy := guard.Facts{Records: 1000, Expected: 1000, ExpectedBy: "records at the last good run", Owned: 1000}
	tests := []struct {
		name   string
		change func(*guard.Config, *guard.Facts)
		want   []string // of the guards that block
	}{
		{name: "nothing happens", change: func(*guard.Config, *guard.Facts) {}},
		{
			name: "a canary is missing", change: func(_ *guard.Config, f *guard.Facts) { f.Missing = []string{"db-001", "db-002"} },
			want: []string{"canaries: missing from the source: db-001, db-002; none may be missing"},
		},
		{name: "the source has just enough", change: func(_ *guard.Config, f *guard.Facts) { f.Records = 900 }},
		{
			name: "the source has too little", change: func(_ *guard.Config, f *guard.Facts) { f.Records = 899 },
			want: []string{"minSourceFraction: 899 records, 1000 are expected (records at the last good run); at least 90% of them"},
		},
		{name: "one of two is missing", change: func(_ *guard.Config, f *guard.Facts) { f.Records, f.Expected = 1, 2 }},
		{name: "as many leave as may", change: func(_ *guard.Config, f *guard.Facts) { f.Leaving = 50 }},
		{
			name: "too many leave", change: func(_ *guard.Config, f *guard.Facts) { f.Leaving = 51 },
			want: []string{"maxRemove: 51 of 1000 hosts would begin to leave (5.1 %); at most 50 (5%, and no more than 100)"},
		},
		{
			name: "too many leave a large fleet", change: func(_ *guard.Config, f *guard.Facts) { f.Leaving, f.Owned = 101, 10_000 },
			want: []string{"maxRemove: 101 of 10000 hosts would begin to leave (1.0 %); at most 100 (5%, and no more than 100)"},
		},
		{name: "one may leave a small fleet", change: func(_ *guard.Config, f *guard.Facts) { f.Leaving, f.Owned = 1, 3 }},
		{
			name: "none may leave", change: func(c *guard.Config, f *guard.Facts) { c.MaxRemove.Percent, f.Leaving = 0, 1 },
			want: []string{"maxRemove: 1 of 1000 hosts would begin to leave (0.1 %); at most 0 (0%, and no more than 100)"},
		},
		{
			name: "too many change", change: func(_ *guard.Config, f *guard.Facts) { f.Modified = 301 },
			want: []string{"maxModify: 301 of 1000 hosts would change (30.1 %); at most 300 (30%)"},
		},
		{
			name: "too many are quarantined", change: func(_ *guard.Config, f *guard.Facts) { f.Quarantined, f.Reason = 51, "no such key: ip" },
			want: []string{"maxQuarantine: 51 of 1000 records quarantined (5.1 %), most because of: no such key: ip; at most 50 (5%), and never all"},
		},
		{name: "one of two is quarantined", change: func(_ *guard.Config, f *guard.Facts) { f.Quarantined, f.Records, f.Expected = 1, 2, 2 }},
		{
			name: "the only one is quarantined", change: func(_ *guard.Config, f *guard.Facts) { f.Quarantined, f.Records, f.Expected = 1, 1, 1 },
			want: []string{"maxQuarantine: 1 of 1 records quarantined (100.0 %); at most 1 (5%), and never all"},
		},
		{
			name: "an empty source that is believed", change: func(_ *guard.Config, f *guard.Facts) { f.Records, f.Leaving = 0, 1000 },
			want: []string{
				"minSourceFraction: 0 records, 1000 are expected (records at the last good run); at least 90% of them",
				"maxRemove: 1000 of 1000 hosts would begin to leave (100.0 %); at most 50 (5%, and no more than 100)",
			},
		},
		{name: "a first run", change: func(_ *guard.Config, f *guard.Facts) { f.Owned, f.Expected = 0, 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, f := guard.Defaults(), healthy
			tt.change(&c, &f)
			var got []string
			for _, r := range guard.Blocked(guard.Check(c, f)) {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("what blocks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSharesAreReadWithAndWithoutTheirSign(t *testing.T) {
	n, err := conf.Parse("g.yaml", []byte("maxRemove: {percent: 5}\nmaxModify: 12.5%\nmaxQuarantine: 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := guard.Defaults()
	if err := n.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if c.MaxRemove.Percent != 5 || c.MaxModify != 12.5 || c.MaxQuarantine != 0 {
		t.Errorf("read as %v, %v, %v", c.MaxRemove.Percent, c.MaxModify, c.MaxQuarantine)
	}
	if c.MaxRemove.Count != 100 {
		t.Errorf("the count lost its default: %d", c.MaxRemove.Count)
	}
}
