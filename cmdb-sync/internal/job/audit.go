package job

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/apply"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
)

// Audit is the file that changes are written down in: JSON Lines, appended
// to. Runs that change nothing leave nothing in it. It holds no secret: what
// is in it are hosts.
type Audit struct{ Path string } // none if empty

// entry is one line.
type entry struct {
	Time     time.Time      `json:"time"`
	Event    string         `json:"event"` // apply, change, applied, failed, blocked
	Run      string         `json:"run"`
	Source   string         `json:"source"`
	Who      string         `json:"who,omitempty"`
	Plan     string         `json:"plan,omitempty"`     // hash
	Snapshot string         `json:"snapshot,omitempty"` // hash
	Config   string         `json:"config,omitempty"`   // hash
	Base     string         `json:"base,omitempty"`
	Revision string         `json:"revision,omitempty"`
	Approved bool           `json:"approved,omitempty"` // over what guards said
	Counts   *plan.Counts   `json:"counts,omitempty"`
	Blocked  []guard.Result `json:"blocked,omitempty"`
	Error    string         `json:"error,omitempty"`
	Change   *change        `json:"change,omitempty"`
}

// change is what happens to one host.
type change struct {
	Action plan.Action        `json:"action"`
	Object string             `json:"object"`
	Host   string             `json:"host,omitempty"`
	Reason string             `json:"reason"`
	Fields []plan.FieldChange `json:"fields,omitempty"`
}

// begin writes down what is about to be applied, before it is.
func (a *Audit) begin(p *plan.Plan, approved bool) error {
	return a.write(func(emit func(entry) error) error {
		head := a.about("apply", p)
		head.Who, head.Approved, head.Counts = who(), approved, &p.Counts
		head.Blocked = guard.Blocked(p.Guards)
		if err := emit(head); err != nil {
			return err
		}
		for i := range p.Changes {
			c := &p.Changes[i]
			e := entry{Time: head.Time, Event: "change", Run: p.Run, Source: p.Source, Change: &change{c.Action, c.Object, c.Host, c.Reason, c.Fields}}
			if err := emit(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// end writes down what became of it.
func (a *Audit) end(p *plan.Plan, result apply.Applied, failure error) error {
	return a.write(func(emit func(entry) error) error {
		e := a.about("applied", p)
		e.Revision = result.Revision
		if failure != nil {
			e.Event, e.Error = "failed", failure.Error()
		}
		return emit(e)
	})
}

// blocked writes down what guards forbid.
func (a *Audit) blocked(p *plan.Plan) error {
	return a.write(func(emit func(entry) error) error {
		e := a.about("blocked", p)
		e.Counts, e.Blocked = &p.Counts, guard.Blocked(p.Guards)
		return emit(e)
	})
}

func (a *Audit) about(event string, p *plan.Plan) entry {
	return entry{
		Time: time.Now().UTC(), Event: event, Run: p.Run, Source: p.Source,
		Plan: p.Hash, Snapshot: p.Snapshot, Config: p.Config, Base: p.Base,
	}
}

func (a *Audit) write(lines func(emit func(entry) error) error) (err error) {
	if a.Path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("audit log: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(a.Path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(a.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(f, 64<<10)
	enc := json.NewEncoder(buf)
	err = lines(func(e entry) error { return enc.Encode(e) })
	for _, step := range []func() error{buf.Flush, f.Sync, f.Close} {
		if stepErr := step(); err == nil {
			err = stepErr
		}
	}
	return err
}

// who runs this, as far as the system knows: user@machine.
func who() string {
	name := cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("USER"))
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return name + "@" + machine
}
