package apply_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/apply"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/cptest"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, s *cptest.Server) *apply.Client {
	t.Helper()
	c := apply.Config{Server: s.URL, Timeout: 10 * time.Second, MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond}
	cl := apply.New(c, slog.New(slog.DiscardHandler))
	t.Cleanup(cl.Close)
	return cl
}

// planOf puts hosts of those names and deletes others.
func planOf(base string, put []string, remove ...string) *plan.Plan {
	p := &plan.Plan{Source: "idc", Run: "r1", Base: base, Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	for _, name := range put {
		o := &host.Object{APIVersion: host.APIVersion, Kind: host.KindName, Metadata: host.Metadata{Name: name}}
		o.Spec.Host = registry.Host{Key: name, Network: "default"}
		p.Changes = append(p.Changes, plan.Change{Action: plan.Add, Object: name, Put: o})
	}
	for _, name := range remove {
		p.Changes = append(p.Changes, plan.Change{Action: plan.Remove, Object: name})
	}
	return p
}

func spec(key string) map[string]any { return map[string]any{"key": key, "network": "default"} }

func TestHostsOfAllPagesAreListed(t *testing.T) {
	s := cptest.New(t)
	s.SetPage(2)
	for i := range 5 {
		s.Put(fmt.Sprintf("h-%d", i), spec(fmt.Sprint(i)))
	}
	got, err := client(t, s).Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range got.List {
		names = append(names, o.Metadata.Name+"="+o.Spec.Key)
	}
	if diff := cmp.Diff([]string{"h-0=0", "h-1=1", "h-2=2", "h-3=3", "h-4=4"}, names); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if got.Revision != s.Revision() {
		t.Errorf("at revision %s, want %s", got.Revision, s.Revision())
	}
}

func TestListingBeginsAnewWhereItsRevisionIsGone(t *testing.T) {
	s := cptest.New(t)
	s.SetPage(1)
	s.Put("a", spec("a"))
	s.Put("b", spec("b"))
	pages := 0
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if pages++; pages == 2 {
			s.Put("c", spec("c"))
		}
		return false
	})
	got, err := client(t, s).Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.List) != 3 || got.Revision != s.Revision() {
		t.Errorf("%d hosts at revision %s, want 3 at %s", len(got.List), got.Revision, s.Revision())
	}
}

func TestUnchangedHostsAreNotListedAgain(t *testing.T) {
	s := cptest.New(t)
	s.Put("a", spec("a"))
	s.Put("b", spec("b"))
	var full atomic.Int32
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("limit") != "1" {
			full.Add(1)
		}
		return false
	})
	c := client(t, s)
	for range 3 {
		if _, err := c.Hosts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if full.Load() != 1 {
		t.Errorf("listed %d times, want once", full.Load())
	}
	s.Put("c", spec("c"))
	if got, err := c.Hosts(t.Context()); err != nil || len(got.List) != 3 {
		t.Errorf("after a change: %v, %v", got, err)
	}
}

func TestPlanIsOneRevision(t *testing.T) {
	s := cptest.New(t)
	s.Put("old", spec("old"))
	got, err := client(t, s).Apply(t.Context(), planOf(s.Revision(), []string{"a", "b"}, "old"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(apply.Applied{Revision: "3", Changed: 2, Deleted: 1}, got); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, s.Names()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	want := map[string]any{"name": "idc", "run": "r1", "time": "2026-03-01T00:00:00Z"}
	if diff := cmp.Diff(want, s.Host("a", "spec", "source")); diff != "" {
		t.Errorf("source of a (-want +got):\n%s", diff)
	}
	if a := s.Applies(); len(a) != 1 || a[0].Base != "2" || a[0].Run != "r1" {
		t.Errorf("applies %+v", a)
	}
}

func TestLargePlanGoesInSeveralRequests(t *testing.T) {
	s := cptest.New(t)
	p := planOf(s.Revision(), nil)
	for i := range 60 {
		o := planOf("", []string{fmt.Sprintf("h-%02d", i)}).Changes[0]
		o.Put.Spec.Labels = map[string]string{"big": strings.Repeat("<", 1<<20)}
		p.Changes = append(p.Changes, o)
	}
	got, err := client(t, s).Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	applies := s.Applies()
	if len(applies) != 3 || got.Changed != 60 || got.Revision != s.Revision() {
		t.Fatalf("%d requests made %+v", len(applies), got)
	}
	for i, a := range applies {
		if want := fmt.Sprint(i + 1); a.Base != want {
			t.Errorf("request %d is based on %s, want %s", i, a.Base, want)
		}
	}
}

func TestStalePlanChangesNothing(t *testing.T) {
	s := cptest.New(t)
	p := planOf(s.Revision(), []string{"a"})
	s.Put("other", spec("other"))
	_, err := client(t, s).Apply(t.Context(), p)
	if !errors.Is(err, apply.ErrStale) {
		t.Errorf("error %v, want a stale plan", err)
	}
	if diff := cmp.Diff([]string{"other"}, s.Names()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

// The answer of the first try is lost, and the second finds the base moved: by
// itself.
func TestPlanWhoseAnswerWasLostIsApplied(t *testing.T) {
	s := cptest.New(t)
	s.Put("old", spec("old"))
	s.LoseAnswers(1)
	got, err := client(t, s).Apply(t.Context(), planOf(s.Revision(), []string{"a"}, "old"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(apply.Applied{Revision: "3", Changed: 1, Deleted: 1}, got); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	if len(s.Applies()) != 1 {
		t.Errorf("it was applied %d times", len(s.Applies()))
	}
}

func TestTroubleIsTriedAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := cptest.New(t)
			tries := 0
			s.Before(func(w http.ResponseWriter, r *http.Request) bool {
				if tries++; tries > 2 {
					return false
				}
				w.WriteHeader(status)
				return true
			})
			if _, err := client(t, s).Apply(t.Context(), planOf(s.Revision(), []string{"a"})); err != nil {
				t.Fatal(err)
			}
			if tries != 3 || len(s.Names()) != 1 {
				t.Errorf("%d tries made %v", tries, s.Names())
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := cptest.New(t)
	var first, second time.Time
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		second = time.Now()
		return false
	})
	if _, err := client(t, s).Hosts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waited := second.Sub(first); waited < time.Second {
		t.Errorf("tried again after %v, it was told 1s", waited)
	}
}

func TestServerThatWantsToBeLeftAloneIsLeftAlone(t *testing.T) {
	s := cptest.New(t)
	tries := 0
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		tries++
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := client(t, s).Hosts(t.Context())
	var status *apply.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusServiceUnavailable || tries != 1 {
		t.Errorf("after %d tries: %v", tries, err)
	}
}

func TestAnswersThatAreNoneAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter)
		want   string
	}{
		{"a page of HTML", func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>log in</html>")) }, `is not what was asked for ("<html>log in</html>")`},
		{"a redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://elsewhere/")
			w.WriteHeader(http.StatusFound)
		}, "answers 302"},
		{"an empty document", func(w http.ResponseWriter) { _, _ = w.Write([]byte("{}")) }, `a page is of revision ""`},
		{"a list that does not go on", func(w http.ResponseWriter) {
			_ = json.NewEncoder(w).Encode(map[string]any{"revision": "1", "items": []any{}, "next": "x"})
		}, `does not go on after "x"`},
		{"a host without a name", func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"revision":"1","items":[{"spec":{}}]}`)) }, "has no name"},
		{"a host twice", func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"revision":"1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"a"}}]}`))
		}, "has the host a twice"},
		{"a refusal with details", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"error":"2 mistakes","reason":"invalid","details":[{"path":"put[0].spec.key","message":"must be given"},{"path":"put[1].kind","message":"is odd"}]}`))
		}, "answers 422: invalid: 2 mistakes\n  put[0].spec.key: must be given\n  put[1].kind: is odd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := cptest.New(t)
			s.Before(func(w http.ResponseWriter, _ *http.Request) bool { tt.answer(w); return true })
			_, err := client(t, s).Hosts(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestTokenIsReadAgainAndNeverShown(t *testing.T) {
	s := cptest.New(t)
	file := filepath.Join(t.TempDir(), "token")
	var log bytes.Buffer
	c := apply.New(apply.Config{Server: s.URL, TokenFile: file, Timeout: time.Second, MinWait: time.Millisecond, MaxWait: time.Millisecond},
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(c.Close)
	s.SetToken("s3cret-one")
	if _, err := c.Hosts(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "controlplane.tokenFile") {
		t.Errorf("without a file: %v", err)
	}
	for _, token := range []string{"s3cret-one", "s3cret-two"} {
		s.SetToken(token)
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Hosts(t.Context()); err != nil {
			t.Errorf("with the token: %v", err)
		}
	}
	s.SetToken("another")
	_, err := c.Hosts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "answers 401") {
		t.Errorf("with a wrong token: %v", err)
	}
	if text := log.String() + err.Error(); strings.Contains(text, "s3cret") {
		t.Errorf("the token is shown: %s", text)
	}
	if err := os.WriteFile(file, []byte("two tokens\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hosts(t.Context()); err == nil || !strings.Contains(err.Error(), "does not hold one token") {
		t.Errorf("with a file of something else: %v", err)
	}
}
