package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunWithoutChangesWritesNothing(t *testing.T) {
	d := newDesk(t)
	j := d.job(job.Options{})
	p, err := j.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p.Counts.Add != 2 || len(d.cp.Names()) != 2 {
		t.Fatalf("the first run added %d, there are %v", p.Counts.Add, d.cp.Names())
	}
	before, revision := d.files(), d.cp.Revision()
	for _, name := range []string{"idc.state.json", "idc.snapshot.jsonl", "audit.jsonl"} {
		if before[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for _, again := range []*job.Job{j, d.job(job.Options{})} {
		if p, err := again.Once(t.Context()); err != nil || !p.Empty() {
			t.Errorf("another run: %+v, %v", p.Counts, err)
		}
	}
	if diff := cmp.Diff(before, d.files()); diff != "" {
		t.Errorf("files changed (-want +got):\n%s", diff)
	}
	if len(d.cp.Applies()) != 1 || d.cp.Revision() != revision {
		t.Errorf("%d applies, revision %s", len(d.cp.Applies()), d.cp.Revision())
	}
}

func TestBrokenSourcesChangeNothing(t *testing.T) {
	tests := []struct {
		name    string
		content string
		want    string
	}{
		{"empty", "", "not even a header"},
		{"a header alone", "id,name,zone,status\n", "it has no records"},
		{"a row cut off", "id,name,zone,status\n1,vm-1,bj-1,active\n2,vm", ":3: the row has another number of fields"},
		{"a key twice", "id,name,zone,status\n1,vm-1,bj-1,active\n1,vm-2,bj-2,active\n", `two records have the key "1": 2 and 3`},
		{"a page of HTML", "<html>\n<p>log in</p>\n", `all records are gone`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			if _, err := d.job(job.Options{}).Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			before, files := d.cp.Revision(), d.files()
			d.write("hosts.csv", tt.content)
			_, err := d.job(job.Options{}).Once(t.Context())
			var source *job.SourceError
			var blocked *job.BlockedError
			switch {
			case errors.As(err, &source):
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one that says %q", err, tt.want)
				}
			case tt.name == "a page of HTML" && errors.As(err, &blocked): // it is a CSV of one column
			default:
				t.Errorf("error %v", err)
			}
			if d.cp.Revision() != before {
				t.Error("the hosts changed")
			}
			if diff := cmp.Diff(files, d.files()); diff != "" {
				t.Errorf("files changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuardsBlockUntilThatPlanIsApproved(t *testing.T) {
	d := newDesk(t)
	d.machines("1,vm-1,a,active", "2,vm-2,a,active", "3,vm-3,a,active", "4,vm-4,a,active")
	if _, err := d.job(job.Options{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.machines("1,vm-1,a,active")
	revision := d.cp.Revision()
	p, err := d.job(job.Options{}).Once(t.Context())
	var blocked *job.BlockedError
	if !errors.As(err, &blocked) || d.cp.Revision() != revision {
		t.Fatalf("error %v at revision %s", err, d.cp.Revision())
	}
	if _, err := d.job(job.Options{Approve: "another"}).Once(t.Context()); !errors.As(err, &blocked) {
		t.Errorf("approved by another hash: %v", err)
	}
	got, err := d.job(job.Options{Approve: p.Hash}).Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Counts.Drain != 3 || d.cp.Host("idc-4", "spec", "status") != "draining" {
		t.Errorf("drained %d, idc-4 is %v", got.Counts.Drain, d.cp.Host("idc-4", "spec", "status"))
	}
	// What was approved is what is expected now.
	if p, err := d.job(job.Options{}).Once(t.Context()); err != nil || p.Counts.Waiting != 3 {
		t.Errorf("the next run: %v", err)
	}
}

func TestPlanIsMadeAgainWhereTheHostsMoved(t *testing.T) {
	d := newDesk(t)
	moved := false
	d.cp.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && !moved {
			moved = true
			d.cp.Put("other", map[string]any{"key": "x"})
		}
		return false
	})
	if _, err := d.job(job.Options{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"idc-1", "idc-2", "other"}, d.cp.Names()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestAuditTellsWhatWasDoneByWhom(t *testing.T) {
	d := newDesk(t)
	if _, err := d.job(job.Options{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.machines("1,vm-1,bj-9,active", "2,vm-2,bj-2,active")
	p, err := d.job(job.Options{}).Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(d.path("log/audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for line := range strings.Lines(string(data)) {
		var e struct {
			Event, Run, Who, Revision string
			Change                    *struct {
				Action, Object string
				Fields         []struct{ Field, From, To string }
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if e.Run != p.Run {
			continue
		}
		text := e.Event
		if e.Change != nil {
			text += fmt.Sprint(" ", e.Change.Action, " ", e.Change.Object, " ", e.Change.Fields)
		}
		if e.Event == "apply" && !strings.Contains(e.Who, "@") {
			t.Errorf("who is %q", e.Who)
		}
		if e.Event == "applied" {
			text += " at " + e.Revision
		}
		events = append(events, text)
	}
	want := []string{"apply", "change modify idc-1 [{locality.zone bj-1 bj-9}]", "applied at " + d.cp.Revision()}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestNothingIsAppliedThatCannotBeAudited(t *testing.T) {
	d := newDesk(t)
	d.write("log", "a file where the folder should be")
	if _, err := d.job(job.Options{}).Once(t.Context()); err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("error %v", err)
	}
	if len(d.cp.Names()) != 0 {
		t.Errorf("it applied %v", d.cp.Names())
	}
}

func TestStateThatCannotBeReadIsBegunAnew(t *testing.T) {
	d := newDesk(t)
	if err := os.MkdirAll(d.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.write("state/idc.state.json", "{half")
	if _, err := d.job(job.Options{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.log.String(), "absences are counted anew") {
		t.Error("it was not said")
	}
	if data, err := os.ReadFile(d.path("state/idc.state.json")); err != nil || !json.Valid(data) {
		t.Errorf("it holds %s (%v)", data, err)
	}
}

// scripted is a source whose fetches go as told.
type scripted struct {
	fetches []func(emit func(source.Record) error) (source.Report, error)
}

func (s *scripted) Fetch(_ context.Context, _ source.Cursor, emit func(source.Record) error) (source.Report, error) {
	next := s.fetches[0]
	s.fetches = s.fetches[1:]
	return next(emit)
}

func (s *scripted) kind() source.Kind {
	return source.Kind{Name: "scripted", Shape: source.Text, New: func(conf.Node, source.Env) (source.Source, error) { return s, nil }}
}

func keys(total int, ids ...string) func(emit func(source.Record) error) (source.Report, error) {
	return func(emit func(source.Record) error) (source.Report, error) {
		for i, id := range ids {
			r := source.Record{Place: source.Place{In: "page", Item: i + 1}, Value: map[string]string{"id": id, "name": id, "zone": "z", "status": "active"}}
			if err := emit(r); err != nil {
				return source.Report{}, err
			}
		}
		return source.Report{Total: total, Full: true}, nil
	}
}

func TestFetchIsRepeatedOnceForAKeyThatIsThereTwice(t *testing.T) {
	tests := []struct {
		name    string
		fetches []func(emit func(source.Record) error) (source.Report, error)
		want    string
	}{
		{name: "a page had moved", fetches: []func(emit func(source.Record) error) (source.Report, error){keys(3, "1", "2", "2"), keys(2, "1", "2")}},
		{
			name: "it is there twice", fetches: []func(emit func(source.Record) error) (source.Report, error){keys(3, "1", "2", "2"), keys(3, "2", "1", "2")},
			want: `source idc: two records have the key "2": 1 and 3`,
		},
		{
			name: "it gave fewer than it has", fetches: []func(emit func(source.Record) error) (source.Report, error){keys(3, "1", "2")},
			want: "source idc: it says that it has 3 records, and gave 2",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			d.write("cmdb-sync.yaml", strings.Replace(fmt.Sprintf(settings, d.cp.URL), "csv: {path: hosts.csv}", "scripted: {}", 1))
			s := &scripted{fetches: tt.fetches}
			_, err := d.job(job.Options{}, s.kind()).Once(t.Context())
			if got := fmt.Sprint(err); (tt.want == "" && err != nil) || (tt.want != "" && got != tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if len(s.fetches) != 0 {
				t.Errorf("%d fetches were not made", len(s.fetches))
			}
		})
	}
}

func TestMetricsTellHowRunsEnd(t *testing.T) {
	d := newDesk(t)
	j := d.job(job.Options{})
	for range 2 {
		if _, err := j.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.machines("1,vm-1,x,odd", "2,vm-2,x,active")
	if err := os.Remove(d.path("hosts.csv")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Once(t.Context()); err == nil {
		t.Fatal("a run without its file went well")
	}
	w := httptest.NewRecorder()
	j.Metrics().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`outrigger_cmdb_runs_total{result="applied",source="idc"} 1`,
		`outrigger_cmdb_runs_total{result="unchanged",source="idc"} 1`,
		`outrigger_cmdb_runs_total{result="source_failed",source="idc"} 1`,
		`outrigger_cmdb_changes_total{action="add",source="idc"} 2`,
		`outrigger_cmdb_records{source="idc"} 2`,
		`outrigger_cmdb_hosts{source="idc",state="present"} 2`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("%s is missing in\n%s", want, w.Body)
		}
	}
}
