package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/bench/internal/hop"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

func TestFlags(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse([]string{"-json", "-rounds", "3", "-duration", "500ms", "-only", "sidecar, caddy", "-only", "haproxy", "-cases", "get-1k", "-measure", "memory", "-binary", self}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := hop.Options{
		Rounds: 3, Duration: 500 * time.Millisecond, Connections: 64, Idle: 10_000,
		Only: []string{"sidecar", "caddy", "haproxy"}, Cases: []string{"get-1k"}, Measures: []string{"memory"}, Sidecar: self,
	}
	if diff := cmp.Diff(want, s.Options); diff != "" || !s.json {
		t.Error(diff)
	}
}

func TestWrongUsage(t *testing.T) {
	notAProgram := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notAProgram, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"usage: bench hop":              nil,
		"there is no hops":              {"hops"},
		"-rouds":                        {"hop", "-rouds", "1"},
		"-rounds must be":               {"hop", "-rounds", "0"},
		"-duration must be":             {"hop", "-duration", "1h"},
		`unexpected argument "sidecar"`: {"hop", "sidecar"},
		`no peer "envoy"`:               {"hop", "-only", "envoy"},
		`no case "x"`:                   {"hop", "-cases", "x"},
		`no measure "y"`:                {"hop", "-measure", "y"},
		"no such file":                  {"hop", "-binary", "/no/such/sidecar"},
		"not a program":                 {"hop", "-base", notAProgram},
		"proxy: name one":               {"proxy"},
	} {
		err := start(t.Context(), args)
		if err == nil || !strings.Contains(err.Error(), want) || run.ExitCode(err) != 2 {
			t.Errorf("%q: %v, exit code %d; expected %q and 2", args, err, run.ExitCode(err), want)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	var out bytes.Buffer
	if err := hopCommand(t.Context(), []string{"-h"}, &out, nil); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"-json", "-rounds", "-duration", "-only", "-out", "-binary", "-base"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("no %s in:\n%s", flag, out.String())
		}
	}
}

func TestReportIsPrintedAndKept(t *testing.T) {
	r := &hop.Report{Failures: []string{"x"}}
	for _, asJSON := range []bool{true, false} {
		var stdout bytes.Buffer
		s := settings{json: asJSON, out: filepath.Join(t.TempDir(), "report.json")}
		if err := write(r, s, &stdout); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(s.out)
		if err != nil {
			t.Fatal(err)
		}
		var back hop.Report
		if err := json.Unmarshal(kept, &back); err != nil || !cmp.Equal(back.Failures, r.Failures) {
			t.Errorf("%s: %v", kept, err)
		}
		if bytes.Equal(kept, stdout.Bytes()) != asJSON {
			t.Errorf("json %v: printed %q", asJSON, stdout.String())
		}
	}
	if err := write(r, settings{out: filepath.Join(t.TempDir(), "none", "r.json")}, new(bytes.Buffer)); err == nil {
		t.Error("a file in no folder is written")
	}
}
