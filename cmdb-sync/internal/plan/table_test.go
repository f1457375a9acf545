package plan_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
)

func TestColourIsPerLineAndEnds(t *testing.T) {
	p := &plan.Plan{
		Source: "idc", Changes: []plan.Change{{Action: plan.Add, Object: "idc-1"}, {Action: plan.Remove, Object: "idc-2", Reason: "gone"}},
		Guards: []guard.Result{{Rule: "canaries", Blocked: true, Saw: "none", Limit: "one"}},
	}
	var plain, coloured bytes.Buffer
	if err := errors.Join(p.WriteTable(&plain, false), p.WriteTable(&coloured, true)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("there is colour where none is wanted")
	}
	for line := range strings.Lines(coloured.String()) {
		if strings.Contains(line, "\x1b[") && !strings.HasSuffix(line, "\x1b[0m\n") {
			t.Errorf("the colour of %q does not end", line)
		}
	}
	for _, want := range []string{"\x1b[32m  + add ", "\x1b[31m  - remove", "\x1b[1;31m  ! canaries"} {
		if !strings.Contains(coloured.String(), want) {
			t.Errorf("there is no %q in\n%q", want, coloured.String())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the pipe is closed") }

func TestTableReportsThatItCannotBeWritten(t *testing.T) {
	if err := (&plan.Plan{Source: "idc"}).WriteTable(broken{}, false); err == nil || err.Error() != "the pipe is closed" {
		t.Errorf("error %v", err)
	}
}
