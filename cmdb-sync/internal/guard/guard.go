// Package guard decides whether a plan may be applied without a human: a
// source that is broken looks just like one whose machines are gone. Each rule
// says what it saw, what its limit is, and why that matters. In a small fleet
// a share rounds to nothing; one machine may always change.
package guard

import (
	"fmt"
	"strings"
)

// Facts are what the rules look at.
type Facts struct {
	Records     int // of the source
	Expected    int // records at the last good run, or hosts that are there
	ExpectedBy  string
	Owned       int // hosts of this source in the control plane
	Leaving     int // hosts that would begin to leave with this plan
	Modified    int // hosts that would change otherwise
	Quarantined int
	Reason      string   // of the most quarantined ones
	Missing     []string // canaries
}

// Result is what one rule found.
type Result struct {
	Rule    string `json:"rule"`
	Blocked bool   `json:"blocked"`
	Saw     string `json:"saw"`
	Limit   string `json:"limit"`
}

// String is the rule, what it saw and its limit.
func (r Result) String() string { return fmt.Sprintf("%s: %s; %s", r.Rule, r.Saw, r.Limit) }

// Check asks every rule, in the order in which they mean most.
func Check(c Config, f Facts) []Result {
	return []Result{canaries(f), fraction(c, f), quarantine(c, f), removals(c, f), modifications(c, f)}
}

// Blocked are the results that forbid to go on.
func Blocked(results []Result) []Result {
	var blocked []Result
	for _, r := range results {
		if r.Blocked {
			blocked = append(blocked, r)
		}
	}
	return blocked
}

func canaries(f Facts) Result {
	r := Result{Rule: "canaries", Saw: "all canaries are there", Limit: "none may be missing"}
	if len(f.Missing) > 0 {
		r.Blocked = true
		r.Saw = "missing from the source: " + strings.Join(f.Missing, ", ")
	}
	return r
}

func fraction(c Config, f Facts) Result {
	return Result{
		Rule:    "minSourceFraction",
		Saw:     fmt.Sprintf("%d records, %d are expected (%s)", f.Records, f.Expected, f.ExpectedBy),
		Limit:   fmt.Sprintf("at least %s of them", Percent(c.MinSourceFraction*100)),
		Blocked: f.Expected-f.Records > 1 && float64(f.Records) < c.MinSourceFraction*float64(f.Expected),
	}
}

func quarantine(c Config, f Facts) Result {
	limit := allowed(c.MaxQuarantine, f.Records)
	r := Result{
		Rule:    "maxQuarantine",
		Saw:     fmt.Sprintf("%d of %d records quarantined%s", f.Quarantined, f.Records, share(f.Quarantined, f.Records)),
		Limit:   fmt.Sprintf("at most %d (%s), and never all", limit, c.MaxQuarantine),
		Blocked: f.Quarantined > limit || (f.Quarantined > 0 && f.Quarantined >= f.Records),
	}
	if r.Blocked && f.Reason != "" {
		r.Saw += ", most because of: " + f.Reason
	}
	return r
}

func removals(c Config, f Facts) Result {
	limit := min(c.MaxRemove.Count, allowed(c.MaxRemove.Percent, f.Owned))
	return Result{
		Rule:    "maxRemove",
		Saw:     fmt.Sprintf("%d of %d hosts would begin to leave%s", f.Leaving, f.Owned, share(f.Leaving, f.Owned)),
		Limit:   fmt.Sprintf("at most %d (%s, and no more than %d)", limit, c.MaxRemove.Percent, c.MaxRemove.Count),
		Blocked: f.Leaving > limit,
	}
}

func modifications(c Config, f Facts) Result {
	limit := allowed(c.MaxModify, f.Owned)
	return Result{
		Rule:    "maxModify",
		Saw:     fmt.Sprintf("%d of %d hosts would change%s", f.Modified, f.Owned, share(f.Modified, f.Owned)),
		Limit:   fmt.Sprintf("at most %d (%s)", limit, c.MaxModify),
		Blocked: f.Modified > limit,
	}
}

// allowed is the share of n, one at least where anything is allowed at all.
func allowed(p Percent, n int) int {
	if p == 0 {
		return 0
	}
	return max(1, int(float64(p)*float64(n)/100))
}

func share(part, whole int) string {
	if part == 0 || whole == 0 {
		return ""
	}
	return fmt.Sprintf(" (%.1f %%)", 100*float64(part)/float64(whole))
}
