package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

var update = flag.Bool("update", false, "write what is found to testdata/bad/*.want")

// TestBadFilesAreRefusedWithEveryMistake reads testdata/bad/NAME.yaml and
// compares the error with NAME.want.
func TestBadFilesAreRefusedWithEveryMistake(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/bad: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := config.Load(file)
			if err == nil {
				t.Fatalf("it was accepted: %+v", c)
			}
			var all conf.Errors
			if !errors.As(err, &all) {
				t.Fatalf("the error is a %T, not conf.Errors: %v", err, err)
			}
			for _, e := range all {
				if e.Pos.File != file || e.Pos.Line < 1 || e.Pos.Col < 1 {
					t.Errorf("mistake without a place: %v", e)
				}
			}
			got := strings.ReplaceAll(err.Error(), "testdata/bad/", "") + "\n"
			want := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil { //nolint:gosec // testdata
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(want)
			if err != nil {
				t.Fatalf("%v (run with -update to write it, then read it)", err)
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}
