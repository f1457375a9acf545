// Package plan is the difference between the hosts that the control plane has
// and those that a source says there are: who is added, changed, drained and
// removed, and why. Making a plan is a pure function; the same input gives the
// same plan, in the same order. A plan touches the hosts of its own source
// alone, and of them the fields alone that the mapping gives.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
)

// Action is what happens to one host.
type Action string

// The actions. Drain is a modification, too: it takes a host out of traffic.
const (
	Add    Action = "add"
	Modify Action = "modify"
	Drain  Action = "drain"
	Remove Action = "remove"
)

// Stamp is the time that is written on a host when it begins to leave. It is
// the time of the run that applies the plan, and no part of what is approved.
type Stamp string

// The stamps.
const (
	Absent  Stamp = "absent"
	Retired Stamp = "retired"
)

// Change is one host's part of a plan.
type Change struct {
	Action Action `json:"action"`
	Object string `json:"object"`         // the object's name
	Host   string `json:"host,omitempty"` // the machine's name or key, for people
	Reason string `json:"reason"`
	// Fields are the differences, in a fixed order.
	Fields []FieldChange `json:"fields,omitempty"`
	// Put is the object as it is to be; nil where it is removed.
	Put   *host.Object `json:"put,omitempty"`
	Stamp Stamp        `json:"stamp,omitempty"`
}

// FieldChange is one field before and after; empty for not there.
type FieldChange struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// Counts are how many hosts are what.
type Counts struct {
	Records     int `json:"records"`     // of the source
	Machines    int `json:"machines"`    // that were made of them
	Present     int `json:"present"`     // hosts of this source in the control plane
	Unchanged   int `json:"unchanged"`   // as the source says
	Add         int `json:"add"`         //
	Modify      int `json:"modify"`      //
	Drain       int `json:"drain"`       //
	Remove      int `json:"remove"`      //
	Waiting     int `json:"waiting"`     // leaving, and not long enough yet
	Kept        int `json:"kept"`        // absent, and left alone
	Quarantined int `json:"quarantined"` // records
}

// Plan is what a run would do, and whether it may.
type Plan struct {
	Format   string    `json:"format"`
	Source   string    `json:"source"`
	Run      string    `json:"run"`
	Created  time.Time `json:"created"`
	Server   string    `json:"server"`
	Base     string    `json:"base"`     // revision of the hosts that it was made against
	Snapshot string    `json:"snapshot"` // hash
	Config   string    `json:"config"`   // hash

	Counts      Counts                `json:"counts"`
	Guards      []guard.Result        `json:"guards"`
	Changes     []Change              `json:"changes"`
	Quarantined []snapshot.Quarantine `json:"quarantined,omitempty"`
	Notes       []string              `json:"notes,omitempty"`
	// Absent is for how many runs hosts were absent, this one included.
	Absent map[string]int `json:"absent,omitempty"`

	// Hash is of what would be done and of what forbids it: an approval is
	// for that, whenever it is planned again.
	Hash string `json:"hash"`
}

const format = "outrigger-cmdb-plan/1"

// Empty is whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// Blocked is whether a guard forbids to apply the plan without an approval.
func (p *Plan) Blocked() bool { return len(guard.Blocked(p.Guards)) > 0 }

// hash is over what matters about the plan.
func (p *Plan) hash() (string, error) {
	var rules []string
	for _, r := range guard.Blocked(p.Guards) {
		rules = append(rules, r.Rule)
	}
	sum := sha256.New()
	enc := json.NewEncoder(sum)
	if err := enc.Encode([]any{format, p.Source, p.Server, rules}); err != nil {
		return "", fmt.Errorf("plan: hashing it: %w", err)
	}
	for i := range p.Changes {
		c := p.Changes[i]
		c.Reason = "" // tells how long something lasts
		if err := enc.Encode(&c); err != nil {
			return "", fmt.Errorf("plan: hashing it: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Object is what a change puts, with who did it and when.
func (p *Plan) Object(c *Change) *host.Object {
	if c.Put == nil {
		return nil
	}
	o := *c.Put
	now := p.Created.UTC().Format(time.RFC3339)
	o.Spec.Source = host.Source{Name: p.Source, Run: p.Run, Time: now}
	if c.Stamp != "" {
		o.Metadata.Annotations = maps.Clone(o.Metadata.Annotations)
		if o.Metadata.Annotations == nil {
			o.Metadata.Annotations = map[string]string{}
		}
		key := host.AbsentSince
		if c.Stamp == Retired {
			key = host.RetiredSince
		}
		o.Metadata.Annotations[key] = now
	}
	return &o
}

// Done is whether the hosts are as the plan wants them: it was applied, though
// nobody may have heard of it.
func (p *Plan) Done(present []*host.Object) bool {
	for i := range p.Changes {
		c := &p.Changes[i]
		at, found := slices.BinarySearchFunc(present, c.Object, func(o *host.Object, name string) int {
			switch {
			case o.Metadata.Name < name:
				return -1
			case o.Metadata.Name > name:
				return 1
			}
			return 0
		})
		if found != (c.Put != nil) {
			return false
		}
		if found && (present[at].Spec.Source.Run != p.Run || present[at].Spec.Source.Name != p.Source) {
			return false
		}
	}
	return true
}
