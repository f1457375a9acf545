package middleware

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

var rewrite = flag.Bool("rewrite", false, "write what is found to the .want files, to be read as a diff")

func TestMistakesOfServicesAreAllReportedWithTheirPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/services/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n, err := conf.Parse(filepath.Base(file), text)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseLists(n, testKinds(new([]string)))
			if err == nil {
				t.Fatal("was taken")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".want"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type mergeConfig struct {
	Rate  int
	Tags  []string
	Inner struct{ A, B int }
}

// mergeKinds are kinds that write down what each entry was built with.
func mergeKinds(built *[]string) []Kind {
	var kinds []Kind
	for _, name := range []string{"log", "limit", "retry"} {
		kinds = append(kinds, NewKind(name, func() mergeConfig { return mergeConfig{Rate: 1} }, func(c mergeConfig, e Env) (Parts, error) {
			*built = append(*built, fmt.Sprintf("%s %d %v %v", e.ID, c.Rate, c.Tags, c.Inner))
			return Parts{Request: Func(func(x *Exchange, next Handler) error { return next.Serve(x) })}, nil
		}))
	}
	return kinds
}

func TestAServicesListIsMergedOverItsDirections(t *testing.T) {
	const base = "outbound: [log, {limit: {rate: 5, tags: [a, b], inner: {a: 1, b: 2}}}, {retry: {off: true, rate: 3}}]\n"
	tests := map[string]struct {
		service string
		want    []string
	}{
		"nothing":                  {"{}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"an empty list":            {"{outbound: []}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"the name alone":           {"{outbound: [limit]}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"fields merge":             {"{outbound: [{limit: {rate: 7, inner: {b: 9}}}]}", []string{"log 1 [] {0 0}", "limit 7 [a b] {1 9}"}},
		"lists replace":            {"{outbound: [{limit: {tags: [c]}}]}", []string{"log 1 [] {0 0}", "limit 5 [c] {1 2}"}},
		"null changes nothing":     {"{outbound: [{limit: {rate: null}}]}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"off":                      {"{outbound: [{log: {off: true}}]}", []string{"limit 5 [a b] {1 2}"}},
		"on again":                 {"{outbound: [{retry: {off: false}}]}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}", "retry 3 [] {0 0}"}},
		"new ones go last":         {"{outbound: [{limit: {id: x}}, {limit: {id: y}}]}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}", "x 1 [] {0 0}", "y 1 [] {0 0}"}},
		"before":                   {"{outbound: [{limit: {id: x, before: log}}, {limit: {id: y, before: log}}]}", []string{"x 1 [] {0 0}", "y 1 [] {0 0}", "log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"after, in their order":    {"{outbound: [{limit: {id: x, after: log}}, {limit: {id: y, after: log}}]}", []string{"log 1 [] {0 0}", "x 1 [] {0 0}", "y 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"after what is off":        {"{outbound: [{limit: {id: x}}, {log: {id: y, after: retry}}]}", []string{"log 1 [] {0 0}", "limit 5 [a b] {1 2}", "y 1 [] {0 0}", "x 1 [] {0 0}"}},
		"after a new one":          {"{outbound: [{limit: {id: x, before: log}}, {log: {id: y, after: x}}]}", []string{"x 1 [] {0 0}", "y 1 [] {0 0}", "log 1 [] {0 0}", "limit 5 [a b] {1 2}"}},
		"a merged one is moved":    {"{outbound: [{limit: {before: log, rate: 7}}]}", []string{"limit 7 [a b] {1 2}", "log 1 [] {0 0}"}},
		"a merged one is moved on": {"{outbound: [{log: {after: limit}}]}", []string{"limit 5 [a b] {1 2}", "log 1 [] {0 0}"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := conf.Parse("middleware.yaml", []byte(base+"services:\n  payments: "+tt.service+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			var built []string
			lists, err := ParseLists(n, mergeKinds(&built))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lists.For(Outbound, "payments").Build(Env{Direction: Outbound, Service: "payments"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, built); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestForGivesAServiceItsOwnListsAndOthersTheDirections(t *testing.T) {
	var built []string
	lists, err := parseLists(t, `
inbound: [log]
outbound: [log, {limit: {rate: 5}}]
gateway: [limit]
services:
  payments:
    outbound: [{limit: {burst: 1}}, {log: {id: more}}]
`, &built)
	if err != nil {
		t.Fatal(err)
	}
	show := func(l List) (all []string) {
		for _, e := range l {
			all = append(all, strings.TrimSpace(e.ID+" "+e.Pos.String()+" "+e.Base.String()))
		}
		return all
	}
	const file = "middleware.yaml:"
	inbound, outbound, gateway := []string{"log " + file + "2:11"}, []string{"log " + file + "3:12", "limit " + file + "3:17"}, []string{"limit " + file + "4:11"}
	tests := []struct {
		direction, service string
		want               []string
	}{
		{Inbound, "", inbound},
		{Inbound, "payments", inbound},
		{Inbound, "users", inbound},
		{Outbound, "", outbound},
		{Outbound, "users", outbound},
		{Outbound, "payments", []string{"log " + file + "3:12", "limit " + file + "7:16 " + file + "3:17", "more " + file + "7:37"}},
		{Gateway, "", gateway},
		{Gateway, "payments", gateway},
		{"sideways", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.direction+"/"+tt.service, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, show(lists.For(tt.direction, tt.service))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := lists.Services["payments"].Pos.String(); len(lists.Services) != 1 || got != file+"6:3" {
		t.Errorf("services %v", lists.Services)
	}
}
