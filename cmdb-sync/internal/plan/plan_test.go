package plan_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// world is a mesh and a source, as the files of testdata tell of them.
type world struct {
	hosts    map[string]*host.Object
	revision int
	now      time.Time
	guard    guard.Config
	canaries []string
	state    *snapshot.State
	records  []mapping.Machine
	refused  []snapshot.Quarantine
	last     *plan.Plan
}

// The commands of a file:
//
//	guard             the guards' configuration, in YAML
//	canaries          keys, one a line
//	host NAME         a host that is there: its spec in JSON
//	status NAME S     somebody else sets a host's status
//	source            the machines of the source, one a line: key, then
//	                  name=, ip=, zone=, status=, retired, label.KEY=, or bad=REASON
//	plan [after=D]    plan, D later than the plan before, and print the table
//	apply             apply the plan, and print what was put and deleted
func TestPlans(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{hosts: map[string]*host.Object{}, revision: 1, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), guard: guard.Defaults()}
		w.guard.Mode = guard.Sync
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "guard":
				n, err := conf.Parse("guard", []byte(d.Input))
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Decode(&w.guard); err != nil {
					t.Fatal(err)
				}
				return ""
			case "canaries":
				w.canaries = strings.Fields(d.Input)
				return ""
			case "host":
				o := &host.Object{Metadata: host.Metadata{Name: d.CmdArgs[0].Key}}
				if err := json.Unmarshal([]byte(d.Input), &o.Spec); err != nil {
					t.Fatal(err)
				}
				w.hosts[o.Metadata.Name] = o
				return ""
			case "status":
				o := w.hosts[d.CmdArgs[0].Key].Clone()
				o.Spec.Status = registry.Status(d.CmdArgs[1].Key)
				w.hosts[o.Metadata.Name] = o
				return ""
			case "source":
				w.source(t, d.Input)
				return ""
			case "plan":
				if d.HasArg("after") {
					var after string
					d.ScanArgs(t, "after", &after)
					pause, err := time.ParseDuration(after)
					if err != nil {
						t.Fatal(err)
					}
					w.now = w.now.Add(pause)
				}
				return w.plan(t)
			case "apply":
				return w.apply(t)
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func (w *world) source(t *testing.T, input string) {
	w.records, w.refused = nil, nil
	for i, line := range strings.Split(strings.TrimSpace(input), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		m := mapping.Machine{Key: fields[0], Item: i + 2, Labels: map[string]string{}}
		bad := ""
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			switch {
			case key == "name":
				m.Name, m.Has = value, m.Has|mapping.HasName
			case key == "ip":
				m.Has |= mapping.HasAddresses
				if value != "" {
					m.Addresses = strings.Split(value, ",")
				}
			case key == "zone":
				m.Locality.Zone, m.Has = value, m.Has|mapping.HasZone
			case key == "status":
				m.Status, m.Word, m.Has = "", value, m.Has|mapping.HasStatus
				m.Status = map[string]mapping.Machine{"active": {Status: "up"}, "maintenance": {Status: "draining"}}[value].Status
			case key == "word":
				m.Word = value
			case key == "retired":
				m.Status, m.Word, m.Has, m.Retired = "draining", "retired", m.Has|mapping.HasStatus, true
			case strings.HasPrefix(key, "label."):
				m.Labels[key[len("label."):]] = value
			case key == "bad":
				bad = value
			default:
				t.Fatalf("unknown field %q", f)
			}
		}
		if bad != "" {
			m.Key = strings.TrimPrefix(m.Key, "?")
			w.refused = append(w.refused, snapshot.Quarantine{Place: source.Place{In: "hosts.csv", Item: i + 2}, Key: m.Key, Reason: bad})
			continue
		}
		w.records = append(w.records, m)
	}
}

func (w *world) present() []*host.Object {
	var list []*host.Object
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		list = append(list, w.hosts[name])
	}
	return list
}

func (w *world) plan(t *testing.T) string {
	s := &snapshot.Snapshot{Source: "idc", In: "hosts.csv", Total: len(w.records) + len(w.refused), Quarantined: slices.Clone(w.refused)}
	for _, m := range w.records {
		s.Entries = append(s.Entries, snapshot.Entry{Machine: m})
	}
	if err := s.Seal(); err != nil {
		return err.Error()
	}
	before, err := json.Marshal(w.present())
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(plan.Input{
		Run: fmt.Sprintf("run-%d", w.revision), Now: w.now, Server: "http://cp", Base: fmt.Sprint(w.revision), Present: w.present(),
		Snapshot: s, Config: "c", Canaries: w.canaries, Guard: w.guard, State: w.state,
	})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := json.Marshal(w.present()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("planning changed the hosts (%v)", err)
	}
	w.last = p
	var out strings.Builder
	if err := p.WriteTable(&out, false); err != nil {
		t.Fatal(err)
	}
	// datadriven ends a block at an empty line.
	var lines []string
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimRight(line, " \n"); line != "" && !strings.HasPrefix(line, "hash: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func (w *world) apply(t *testing.T) string {
	var out strings.Builder
	for i := range w.last.Changes {
		c := &w.last.Changes[i]
		o := w.last.Object(c)
		if o == nil {
			delete(w.hosts, c.Object)
			fmt.Fprintln(&out, "delete", c.Object)
			continue
		}
		data, err := json.Marshal(map[string]any{"annotations": o.Metadata.Annotations, "spec": o.Spec})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, "put", c.Object, string(data))
		w.hosts[c.Object] = o
	}
	w.revision++
	w.state = &snapshot.State{Total: w.last.Counts.Records, Hash: w.last.Snapshot, Absent: w.last.Absent}
	if !w.last.Done(w.present()) {
		t.Error("the plan is applied, and does not see it")
	}
	return out.String()
}
