package middleware

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

type limitConfig struct {
	Rate  int
	Burst int
}

func (c *limitConfig) Validate() error {
	if c.Burst < 0 {
		return FieldError("burst", "expected 0 or more")
	}
	return nil
}

// testKinds are one kind of each stage, and one that is broken. What they were
// built with goes to built.
func testKinds(built *[]string) []Kind {
	request := Func(func(x *Exchange, next Handler) error { return next.Serve(x) })
	note := func(e Env) { *built = append(*built, e.Direction+"/"+e.ID) }
	return []Kind{
		NewKind("limit", func() limitConfig { return limitConfig{Rate: 10} }, func(c limitConfig, e Env) (Parts, error) {
			note(e)
			if c.Rate == 13 {
				return Parts{}, errors.New("unlucky")
			}
			return Parts{Request: request}, nil
		}),
		NewKind("log", func() struct{} { return struct{}{} }, func(_ struct{}, e Env) (Parts, error) {
			note(e)
			return Parts{Request: request, Try: TryFunc(func(a *Attempt, next TryHandler) error { return next.Try(a) })}, nil
		}),
		NewKind("again", func() struct{ Pause time.Duration } { return struct{ Pause time.Duration }{} }, func(c struct{ Pause time.Duration }, _ Env) (Parts, error) {
			return Parts{Policy: fixedPolicy{c.Pause > 0, c.Pause}}, nil
		}),
		NewKind("empty", func() struct{} { return struct{}{} }, func(struct{}, Env) (Parts, error) { return Parts{}, nil }),
	}
}

func parseLists(t *testing.T, text string, built *[]string) (Lists, error) {
	t.Helper()
	n, err := conf.Parse("middleware.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ParseLists(n, testKinds(built))
}

func TestListsKeepTheOrderOfTheFile(t *testing.T) {
	var built []string
	lists, err := parseLists(t, `
inbound: [log, {limit: {rate: 5}}, {limit: {id: second, burst: 1}}, {log: {id: quiet, off: true}}]
outbound:
  - limit:
  - again: {pause: 1s}
gateway: []
`, &built)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct{ ID, Kind, Pos string }
	show := func(l List) (all []entry) {
		for _, e := range l {
			all = append(all, entry{e.ID, e.Kind, e.Pos.String()})
		}
		return all
	}
	if diff := cmp.Diff([]entry{
		{"log", "log", "middleware.yaml:2:11"},
		{"limit", "limit", "middleware.yaml:2:16"},
		{"second", "limit", "middleware.yaml:2:36"},
	}, show(lists.Inbound)); diff != "" {
		t.Errorf("inbound: %s", diff)
	}
	if len(lists.Outbound) != 2 || len(lists.Gateway) != 0 {
		t.Errorf("outbound has %d entries, gateway %d; want 2 and 0", len(lists.Outbound), len(lists.Gateway))
	}
	chains, err := lists.Inbound.Build(Env{Direction: Inbound, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"log", "limit", "second"}, chains.Entries); diff != "" {
		t.Errorf("chain: %s", diff)
	}
	if diff := cmp.Diff([]string{"inbound/log", "inbound/limit", "inbound/second"}, built); diff != "" {
		t.Errorf("built: %s", diff)
	}
	if chains.Request == nil || chains.Try == nil || chains.Policy != nil {
		t.Error("want both chains and no policy")
	}
}

func TestMistakesOfAListAreAllReportedWithTheirPlace(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"unknown direction": {"inbond: [log]", `middleware.yaml:1:1: unknown key "inbond"`},
		"not a list":        {"inbound: log", `middleware.yaml:1:10: expected a list of middleware, found a string`},
		"unknown kind":      {"inbound: [nolog]", `middleware.yaml:1:11: unknown middleware "nolog"; known: again, empty, limit, log`},
		"unknown key":       {"inbound: [{limit: {rate: 1, rat: 2}}]", `middleware.yaml:1:29: inbound[0].limit: unknown key "rat"`},
		"wrong type":        {"inbound: [{limit: {rate: fast}}]", `middleware.yaml:1:26: inbound[0].limit.rate: expected an integer`},
		"out of range":      {"inbound: [{limit: {burst: -1}}]", `middleware.yaml:1:27: inbound[0].limit.burst: expected 0 or more`},
		"not a map":         {"inbound: [{limit: 5}]", `middleware.yaml:1:19: inbound[0].limit: expected a map`},
		"two kinds in one":  {"inbound: [{limit: {}, log: {}}]", `middleware.yaml:1:11: expected one middleware with its configuration, found 2 keys`},
		"a number":          {"inbound: [5]", `middleware.yaml:1:11: expected the name of a middleware`},
		"the same twice":    {"inbound: [log, log]", `middleware.yaml:1:16: middleware "log" stands here a second time (first at middleware.yaml:1:11)`},
		"off is no boolean": {"inbound: [{log: {off: 1}}]", `middleware.yaml:1:23: inbound[0].log.off: expected true or false`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseLists(t, tt.file, new([]string))
			if err == nil {
				t.Fatal("was taken")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := parseLists(t, "inbound: [nolog, {limit: {rate: fast, burst: -1}}]\noutbound: [{log: {x: 1}}]\ngateway: 5\nwest: []\n", new([]string))
		if err == nil {
			t.Fatal("was taken")
		}
		var places []string
		for line := range strings.Lines(err.Error()) {
			place, _, _ := strings.Cut(line, ": ")
			places = append(places, strings.TrimPrefix(place, "middleware.yaml:"))
		}
		if diff := cmp.Diff([]string{"1:11", "1:33", "1:46", "2:19", "3:10", "4:1"}, places); diff != "" {
			t.Errorf("%s%v", diff, err)
		}
	})
}

func TestAnEntryThatIsOffIsCheckedToo(t *testing.T) {
	if _, err := parseLists(t, "inbound: [{limit: {off: true, rat: 2}}]", new([]string)); err == nil {
		t.Error("was taken")
	}
}

func TestBuildReportsEveryEntryThatCannotBeBuilt(t *testing.T) {
	lists, err := parseLists(t, "inbound: [{limit: {rate: 13}}, log, empty]", new([]string))
	if err != nil {
		t.Fatal(err)
	}
	_, err = lists.Inbound.Build(Env{Direction: Inbound})
	if err == nil {
		t.Fatal("was built")
	}
	want := "middleware.yaml:1:11: middleware limit: unlucky\nmiddleware.yaml:1:37: middleware empty: " + errNoParts.Error()
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

type fixedPolicy struct {
	again bool
	after time.Duration
}

func (p fixedPolicy) Next(*Exchange, []*Attempt) (bool, time.Duration) { return p.again, p.after }

func TestSeveralPoliciesAreAskedTogether(t *testing.T) {
	tests := map[string]struct {
		policies policyList
		again    bool
		after    time.Duration
	}{
		"none":                 {policyList{}, false, 0},
		"all say no":           {policyList{fixedPolicy{false, 1}, fixedPolicy{false, 2}}, false, 0},
		"one says yes":         {policyList{fixedPolicy{false, 1}, fixedPolicy{true, 5}}, true, 5},
		"the shortest pause":   {policyList{fixedPolicy{true, 7}, fixedPolicy{true, 3}, fixedPolicy{true, 5}}, true, 3},
		"no pause is shortest": {policyList{fixedPolicy{true, 0}, fixedPolicy{true, 3}}, true, 0},
		"a no has no pause":    {policyList{fixedPolicy{true, 7}, fixedPolicy{false, 0}}, true, 7},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			again, after := tt.policies.Next(nil, nil)
			if again != tt.again || after != tt.after {
				t.Errorf("%t after %d, want %t after %d", again, after, tt.again, tt.after)
			}
		})
	}
}

func TestBuildJoinsPolicies(t *testing.T) {
	lists, err := parseLists(t, "outbound: [{again: {pause: 2s}}, {again: {id: sooner, pause: 1s}}]", new([]string))
	if err != nil {
		t.Fatal(err)
	}
	chains, err := lists.Outbound.Build(Env{Direction: Outbound})
	if err != nil {
		t.Fatal(err)
	}
	if again, after := chains.Policy.Next(nil, nil); !again || after != time.Second {
		t.Errorf("%t after %v, want true after 1s", again, after)
	}
}
