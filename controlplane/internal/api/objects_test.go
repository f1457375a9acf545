package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/bolt"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// collections is an API over a real store.
type collections struct {
	t     *testing.T
	base  string
	store *bolt.Store
	log   *lines
}

// lines is a log of JSON that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// audits are the audit lines so far.
func (l *lines) audits(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(l.text.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["msg"] == "audit" {
			all = append(all, m)
		}
	}
	return all
}

func openStore(t testing.TB, history store.History) *bolt.Store {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "outrigger.db"), History: history})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func serveCollections(t *testing.T, o api.Options) *collections {
	t.Helper()
	c := &collections{t: t, log: &lines{}, store: openStore(t, store.History{Revisions: 5})}
	o.Store, o.Logger = c.store, slog.New(slog.NewJSONHandler(c.log, nil))
	c.base = serve(t, o)
	return c
}

// do makes a request with a body of JSON and returns the answer.
func (c *collections) do(method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func (c *collections) want(method, path, body string, code int, answer string) {
	c.t.Helper()
	got, text := c.do(method, path, body)
	if got != code {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, code, text)
	}
	wantJSON(c.t, text, answer)
}

func hostObject(name string) string {
	return `{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"Host","metadata":{"name":"` + name + `"},"spec":{"key":"` + name + `"}}`
}

func service(namespace, name string, port int) string {
	return fmt.Sprintf(`{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"MeshService","metadata":{"namespace":%q,"name":%q},`+
		`"spec":{"ports":[{"name":"http","port":%d}]}}`, namespace, name, port)
}

func puts(objects ...string) string { return `{"put":[` + strings.Join(objects, ",") + `]}` }

func TestAnObjectsLife(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.want("GET", "/v1/meshservices", "", 200, `{"revision":"0","items":[],"next":""}`)
	c.want("GET", "/v1/meshservices/default/orders", "", 404, `{"error":"there is no MeshService default/orders in the store","reason":"not_found"}`)
	c.want("POST", "/v1/meshservices:apply", puts(service("default", "orders", 80)), 200, `{"revision":"1","changed":1,"unchanged":0,"deleted":0}`)
	code, text := c.do("GET", "/v1/meshservices/default/orders", "")
	var got struct {
		object.Stored
		Status api.ObjectStatus `json:"status"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != 200 {
		t.Fatalf("%d, %v: %s", code, err, text)
	}
	if got.Kind != "MeshService" || got.Metadata.Name != "orders" || string(got.Spec) != `{"ports":[{"name":"http","port":80}]}` ||
		got.Metadata.CreationTimestamp == "" || got.Status.Revision != "1" || got.Status.Conditions[0].Status != "True" {
		t.Errorf("it is %s", text)
	}
	// What was read can be written back, and is the same.
	c.want("POST", "/v1/meshservices:apply", puts(text), 200, `{"revision":"1","changed":0,"unchanged":1,"deleted":0}`)
	c.want("POST", "/v1/meshservices:apply", `{"delete":["default/nobody"],"put":[`+service("default", "orders", 81)+`]}`,
		200, `{"revision":"2","changed":1,"unchanged":0,"deleted":0}`)
	c.want("DELETE", "/v1/meshservices/default/orders", "", 200, `{"revision":"3","changed":0,"unchanged":0,"deleted":1}`)
	c.want("DELETE", "/v1/meshservices/default/orders", "", 404, `{"error":"there is no MeshService default/orders in the store","reason":"not_found"}`)
	c.want("GET", "/v1/meshservices", "", 200, `{"revision":"3","items":[],"next":""}`)
}

func TestAHostHasNoNamespaceInItsPath(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.want("POST", "/v1/hosts:apply", puts(hostObject("a.b-1")), 200, `{"revision":"1","changed":1,"unchanged":0,"deleted":0}`)
	if code, text := c.do("GET", "/v1/hosts/a.b-1", ""); code != 200 || !strings.Contains(text, `"name":"a.b-1"`) {
		t.Errorf("%d: %s", code, text)
	}
	c.want("DELETE", "/v1/hosts/a.b-1", "", 200, `{"revision":"2","changed":0,"unchanged":0,"deleted":1}`)
}

func TestABatchIsMadeWholeOrNotAtAll(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.want("POST", "/v1/meshservices:apply", puts(service("default", "orders", 80), service("default", "Users", 80), service("default", "orders", 81), hostObject("h")),
		422, `{"error":"3 mistakes","reason":"invalid","details":[
			{"path":"put[1].metadata.name","message":"\"Users\" is not a DNS label (a-z, 0-9 and '-', a letter or digit at both ends)"},
			{"path":"put[2].metadata.name","message":"MeshService default/orders is put[0] already"},
			{"path":"put[3].kind","message":"\"Host\" is not what this collection holds: it is MeshService"}]}`)
	c.want("GET", "/v1/meshservices", "", 200, `{"revision":"0","items":[],"next":""}`)
}

func TestMistakesAreNamedByTheirPath(t *testing.T) {
	tests := []struct{ name, body, details string }{
		{"no object", `{"put":[7]}`, `[{"path":"put[0]","message":"expected an object (a map with apiVersion, kind, metadata and spec), found an integer"}]`},
		{"no kind", `{"put":[{"apiVersion":"v1"}]}`, `[{"path":"put[0]","message":"kind is missing: this is no object"}]`},
		{
			"a wrong type deep inside", `{"put":[` + strings.Replace(hostObject("h"), `"spec":{`, `"spec":{"locality":{"zone":7},`, 1) + `]}`,
			`[{"path":"put[0].spec.locality.zone","message":"expected a string, found the number 7: quote it, as in \"7\""}]`,
		},
		{
			"a key with dots", `{"put":[` + strings.Replace(hostObject("h"), `"spec":{`, `"spec":{"labels":{"a.b/c: d":7},`, 1) + `]}`,
			`[{"path":"put[0].spec.labels[\"a.b/c: d\"]","message":"expected a string, found the number 7: quote it, as in \"7\""}]`,
		},
		{
			"a key twice", `{"put":[` + strings.Replace(hostObject("h"), `"spec":{`, `"spec":{"key":"a",`, 1) + `]}`,
			`[{"path":"put[0].spec","message":"duplicate key \"key\", first given at line 1"}]`,
		},
		{"a bad key to delete", `{"delete":["a/b", 7, null, "h", "h"]}`, `[
			{"path":"delete[0]","message":"name: \"a/b\" may have a-z, 0-9, '.' and '-' in it, with a letter or digit at both ends"},
			{"path":"delete[1]","message":"expected a string, found 7"},
			{"path":"delete[2]","message":"expected a string, found null"},
			{"path":"delete[4]","message":"Host h is delete[3] already"}]`},
	}
	c := serveCollections(t, api.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, text := c.do("POST", "/v1/hosts:apply", tt.body)
			var got struct {
				Reason  api.Reason
				Details json.RawMessage
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil || code != 422 || got.Reason != api.ReasonInvalid {
				t.Fatalf("%d, %v: %s", code, err, text)
			}
			wantJSON(t, string(got.Details), tt.details)
		})
	}
}

func TestManyMistakesAreCountedAndTheFirstListed(t *testing.T) {
	c := serveCollections(t, api.Options{})
	code, text := c.do("POST", "/v1/hosts:apply", `{"put":[`+strings.Repeat("7,", 499)+`7]}`)
	var got api.Error
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != 422 || len(got.Details) != 100 ||
		got.Message != "500 mistakes, the first 100 are listed" {
		t.Errorf("%d, %v: %d details, %q", code, err, len(got.Details), got.Message)
	}
}

func TestRequestsThatAreWrong(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		header                   []string
		code                     int
		reason                   api.Reason
	}{
		{"no body", "POST", "/v1/hosts:apply", "", nil, 400, "bad_request"},
		{"half a body", "POST", "/v1/hosts:apply", `{"put":[{`, nil, 400, "bad_request"},
		{"no JSON", "POST", "/v1/hosts:apply", `put: []`, nil, 400, "bad_request"},
		{"no object", "POST", "/v1/hosts:apply", `[]`, nil, 400, "bad_request"},
		{"an unknown key", "POST", "/v1/hosts:apply", `{"force":true}`, nil, 400, "bad_request"},
		{"a key in another case", "POST", "/v1/hosts:apply", `{"Put":[]}`, nil, 400, "bad_request"},
		{"a key twice", "POST", "/v1/hosts:apply", `{"put":[],"put":[]}`, nil, 400, "bad_request"},
		{"a wrong type", "POST", "/v1/hosts:apply", `{"dryRun":"yes"}`, nil, 400, "bad_request"},
		{"no list", "POST", "/v1/hosts:apply", `{"put":{}}`, nil, 400, "bad_request"},
		{"two bodies", "POST", "/v1/hosts:apply", `{}{}`, nil, 400, "bad_request"},
		{"a base that is no revision", "POST", "/v1/hosts:apply", `{"base":"x"}`, nil, 400, "bad_request"},
		{"a run that is too long", "POST", "/v1/hosts:apply", `{"run":"` + strings.Repeat("r", 300) + `"}`, nil, 400, "bad_request"},
		{"a body that is not said to be JSON", "POST", "/v1/hosts:apply", `{}`, []string{"Content-Type", "text/plain"}, 415, "media_type"},
		{"a page of another site", "POST", "/v1/hosts:apply", `{}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, "forbidden"},
		{"a delete from another origin", "DELETE", "/v1/hosts/a", "", []string{"Origin", "http://evil.example.com"}, 403, "forbidden"},
		{"another verb", "POST", "/v1/hosts:explode", `{}`, nil, 404, "not_found"},
		{"no verb", "POST", "/v1/hosts", `{}`, nil, 405, "method_not_allowed"},
		{"an unknown collection", "GET", "/v1/boats", "", nil, 404, "not_found"},
		{"an unknown collection to apply to", "POST", "/v1/boats:apply", `{}`, nil, 404, "not_found"},
		{"a kind by another of its names", "GET", "/v1/Host", "", nil, 404, "not_found"},
		{"a path without a name", "GET", "/v1/hosts/", "", nil, 404, "not_found"},
		{"a path without a namespace", "GET", "/v1/meshservices/orders", "", nil, 404, "not_found"},
		{"a name that can not be", "DELETE", "/v1/hosts/A_B", "", nil, 404, "not_found"},
		{"a wrong method", "PUT", "/v1/hosts/a", `{}`, nil, 405, "method_not_allowed"},
		{"a limit of nothing", "GET", "/v1/hosts?limit=0", "", nil, 400, "bad_request"},
		{"a limit beyond the bound", "GET", "/v1/hosts?limit=1001", "", nil, 400, "bad_request"},
		{"a namespace of hosts", "GET", "/v1/hosts?namespace=a", "", nil, 400, "bad_request"},
		{"a bad namespace", "GET", "/v1/meshservices?namespace=A", "", nil, 400, "bad_request"},
		{"a bad revision", "GET", "/v1/hosts?revision=-1", "", nil, 400, "bad_request"},
		{"a revision that never was", "GET", "/v1/hosts?revision=9", "", nil, 410, "compacted"},
		{"a base that never was", "POST", "/v1/hosts:apply", `{"base":"9"}`, nil, 409, "stale_base"},
	}
	c := serveCollections(t, api.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, text := c.do(tt.method, tt.path, tt.body, tt.header...)
			var got api.Error
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if code != tt.code || got.Reason != tt.reason || got.Message == "" {
				t.Errorf("%d %s, want %d %s", code, text, tt.code, tt.reason)
			}
		})
	}
}

func TestABodyBeyondTheLimitIsRefused(t *testing.T) {
	c := serveCollections(t, api.Options{})
	code, text := c.do("POST", "/v1/hosts:apply", `{"put":[`+strings.Repeat(" ", 32<<20)+`]}`)
	if code != 413 || !strings.Contains(text, `"too_large"`) || !strings.Contains(text, "32MiB") {
		t.Errorf("%d: %s", code, text)
	}
}

func TestAStaleBaseIsRefusedWithTheRevision(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.want("POST", "/v1/hosts:apply", `{"base":"0","put":[`+hostObject("a")+`]}`, 200, `{"revision":"1","changed":1,"unchanged":0,"deleted":0}`)
	c.want("POST", "/v1/hosts:apply", `{"base":"0","put":[`+hostObject("b")+`]}`, 409,
		`{"error":"the collection is at revision 1: read it again","reason":"stale_base","revision":"1"}`)
	c.want("POST", "/v1/hosts:apply", `{"base":"1","delete":["a"]}`, 200, `{"revision":"2","changed":0,"unchanged":0,"deleted":1}`)
}

func TestADryRunChangesNothing(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.want("POST", "/v1/hosts:apply", puts(hostObject("a")), 200, `{"revision":"1","changed":1,"unchanged":0,"deleted":0}`)
	c.want("POST", "/v1/hosts:apply", `{"dryRun":true,"delete":["a"],"put":[`+hostObject("b")+`]}`, 200,
		`{"revision":"2","changed":1,"unchanged":0,"deleted":1,"dryRun":true}`)
	if _, text := c.do("GET", "/v1/hosts", ""); !strings.Contains(text, `"revision":"1"`) || strings.Count(text, `"kind"`) != 1 {
		t.Errorf("the hosts are %s", text)
	}
}

func TestAListingIsPagedAtOneRevision(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.do("POST", "/v1/meshservices:apply", puts(service("a", "x", 80), service("b", "x", 80), service("b", "y", 80), service("c", "x", 80)))
	page := func(query string) (names []string, next, revision string) {
		t.Helper()
		code, text := c.do("GET", "/v1/meshservices?"+query, "")
		var l api.List
		if err := json.Unmarshal([]byte(text), &l); err != nil || code != 200 {
			t.Fatalf("%d, %v: %s", code, err, text)
		}
		for _, item := range l.Items {
			names = append(names, item.Metadata.Namespace+"/"+item.Metadata.Name)
		}
		return names, l.Next, l.Revision
	}
	names, next, revision := page("limit=3")
	if fmt.Sprint(names) != "[a/x b/x b/y]" || next != "b/y" || revision != "1" {
		t.Errorf("the first page is %v, next %q, revision %s", names, next, revision)
	}
	c.do("POST", "/v1/meshservices:apply", `{"delete":["c/x"],"put":[`+service("c", "a", 80)+`]}`)
	if names, next, revision = page("limit=3&after=" + next + "&revision=" + revision); fmt.Sprint(names) != "[c/x]" || next != "" || revision != "1" {
		t.Errorf("the second page is %v, next %q, revision %s", names, next, revision)
	}
	if names, _, _ = page("namespace=b"); fmt.Sprint(names) != "[b/x b/y]" {
		t.Errorf("namespace b has %v", names)
	}
	for i := range 10 { // past the history that is kept
		c.do("POST", "/v1/meshservices:apply", puts(service("z", "x", 90+i)))
	}
	if code, text := c.do("GET", "/v1/meshservices?revision=1", ""); code != 410 || !strings.Contains(text, `"compacted"`) {
		t.Errorf("%d: %s", code, text)
	}
}

func TestAnObjectThatAFileHasTooIsShownAsNotInForce(t *testing.T) {
	holder := mesh.Holder{Source: "file", Pos: conf.Pos{File: "objects/h.yaml", Line: 3, Col: 1}}
	c := serveCollections(t, api.Options{Elsewhere: func(id object.ID) (mesh.Holder, bool) {
		return holder, id == object.ID{Kind: object.KindHost, Name: "shadowed"}
	}})
	c.want("POST", "/v1/hosts:apply", puts(hostObject("a"), hostObject("shadowed")), 200,
		`{"revision":"1","changed":2,"unchanged":0,"deleted":0,
		"warnings":["Host shadowed is not in force: objects/h.yaml:3:1 has the same object, and files hold"]}`)
	_, text := c.do("GET", "/v1/hosts/shadowed", "")
	var got struct{ Status api.ObjectStatus }
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := api.Condition{Type: "Programmed", Status: "False", Reason: "Shadowed", Message: "objects/h.yaml:3:1 has the same object, and files hold"}
	if got.Status.Conditions[0] != want {
		t.Errorf("the condition is %+v, want %+v", got.Status.Conditions[0], want)
	}
	c.do("DELETE", "/v1/hosts/shadowed", "")
	c.want("GET", "/v1/hosts/shadowed", "", 404,
		`{"error":"there is no Host shadowed in the store; objects/h.yaml:3:1 has it","reason":"not_found"}`)
}

func TestEveryWriteLeavesOneLineInTheLog(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.do("POST", "/v1/hosts:apply", `{"run":"r-7","base":"0","put":[`+hostObject("a")+`]}`, "User-Agent", "cmdb-sync/1")
	c.do("POST", "/v1/hosts:apply", puts("7"))
	c.do("POST", "/v1/hosts:apply", `{"base":"0"}`)
	c.do("DELETE", "/v1/hosts/a", "")
	c.do("DELETE", "/v1/hosts/a", "")
	c.do("GET", "/v1/hosts", "")
	var got []string
	for _, m := range c.log.audits(t) {
		got = append(got, fmt.Sprint(m["action"], " ", m["collection"], " ", m["outcome"], " ", m["reason"]))
		if m["peer"] == "" || m["user_agent"] == "" {
			t.Errorf("who it was is missing: %v", m)
		}
	}
	want := []string{
		"apply hosts done <nil>", "apply hosts refused invalid", "apply hosts refused stale_base",
		"delete hosts done <nil>", "delete hosts refused not_found",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the lines are %q, want %q", got, want)
	}
	first := c.log.audits(t)[0]
	if first["run"] != "r-7" || first["base"] != "0" || first["revision"] != "1" || first["changed"] != 1.0 || first["user_agent"] != "cmdb-sync/1" {
		t.Errorf("the first line is %v", first)
	}
}

// Many writers each add one to a number under optimistic concurrency: no
// addition is lost.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.do("POST", "/v1/meshservices:apply", puts(service("default", "n", 1)))
	const writers, additions = 8, 5
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < additions; {
				_, text := c.do("GET", "/v1/meshservices", "")
				var l struct {
					Revision string
					Items    []struct {
						Spec struct{ Ports []struct{ Port int } }
					}
				}
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					t.Error(err)
					return
				}
				code, answer := c.do("POST", "/v1/meshservices:apply",
					`{"base":"`+l.Revision+`","put":[`+service("default", "n", l.Items[0].Spec.Ports[0].Port+1)+`]}`)
				switch code {
				case 200:
					done++
				case 409:
				default:
					t.Errorf("%d: %s", code, answer)
					return
				}
			}
		})
	}
	wg.Wait()
	_, text := c.do("GET", "/v1/meshservices/default/n", "")
	if want := `"port":` + strconv.Itoa(1+writers*additions) + `}`; !strings.Contains(text, want) {
		t.Errorf("it is %s, want %s", text, want)
	}
}

func TestAStoreThatFailsIsSaidToBe(t *testing.T) {
	c := serveCollections(t, api.Options{})
	c.store.Close()
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/v1/hosts", ""}, {"GET", "/v1/hosts/a", ""}, {"POST", "/v1/hosts:apply", puts(hostObject("a"))}, {"DELETE", "/v1/hosts/a", ""},
	} {
		if code, text := c.do(tt.method, tt.path, tt.body); code != 503 || !strings.Contains(text, `"unavailable"`) {
			t.Errorf("%s %s: %d: %s", tt.method, tt.path, code, text)
		}
	}
}

// Whatever comes in, the answer is one of the API's own, and what is accepted
// can be listed.
func FuzzApply(f *testing.F) {
	for _, s := range []string{
		puts(hostObject("a"), hostObject("b")), `{"base":"1","run":"r","dryRun":true,"put":null,"delete":["a"]}`,
		`{"put":[{}]}`, `{"put":[null]}`, `{"a":1}`, `[]`, `{"put":[` + hostObject("a") + `],"delete":["a"]}`, "\xff",
	} {
		f.Add([]byte(s))
	}
	db := openStore(f, store.History{})
	h := api.New(api.Options{
		Logger: slog.New(slog.DiscardHandler), Store: db, Metrics: prometheus.NewRegistry(),
		Elsewhere: func(object.ID) (mesh.Holder, bool) { return mesh.Holder{}, false },
	})
	request := func(t *testing.T, method, path string, body []byte) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := request(t, "POST", "/v1/hosts:apply", body)
		switch w.Code {
		case 200, 400, 409, 422:
		default:
			if errors.Is(t.Context().Err(), context.Canceled) {
				return
			}
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("the answer is no JSON: %s", w.Body)
		}
		if w.Code == 200 {
			if l := request(t, "GET", "/v1/hosts", nil); l.Code != 200 || !json.Valid(l.Body.Bytes()) {
				t.Fatalf("the listing is %d: %s", l.Code, l.Body)
			}
		}
	})
}
