package object_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

func TestAHostIsReadWithDefaults(t *testing.T) {
	got := parseOne(t, `
apiVersion: mesh.outrigger.dev/v1alpha1
kind: Host
metadata: {name: netbox-17, labels: {by: hand}}
spec:
  key: "17"
  name: VM-17
  assetID: A-17
  addresses: [10.0.3.7, "::ffff:10.0.3.8", "fe80::1%eth0"]
  locality: {region: bj, zone: bj-2, subzone: r7}
  labels: {owner: shop}
  source: {name: netbox, run: r1, time: "2026-01-01T00:00:00Z"}
`)
	want := &object.Host{
		Meta: object.Meta{ID: object.ID{Kind: "Host", Name: "netbox-17"}, Labels: map[string]string{"by": "hand"}},
		Spec: registry.Host{
			Key: "17", Name: "VM-17", Network: "default", Addresses: []string{"10.0.3.7", "10.0.3.8", "fe80::1"},
			Locality: registry.Locality{Region: "bj", Zone: "bj-2", Subzone: "r7"},
			Status:   registry.StatusUp, Labels: map[string]string{"owner": "shop"},
		},
		AssetID: "A-17",
		Source:  object.HostSource{Name: "netbox", Run: "r1", Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	if diff := cmp.Diff(object.Object(want), got, ignorePos); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
	if id := got.Metadata().String(); id != "Host netbox-17" {
		t.Errorf("it is called %q", id)
	}
}

func TestAHostHasBounds(t *testing.T) {
	const head = `{"apiVersion": "mesh.outrigger.dev/v1alpha1", "kind": "Host", "metadata": {"name": "h"}, "spec": {"key": "1"`
	long := strings.Repeat("x", 2000)
	tests := []struct{ name, spec, want string }{
		{"its key twice", `, "key": ""}}`, "duplicate key"},
		{"a long name", `, "name": "` + long + `"}}`, "spec.name: is longer than 256 bytes"},
		{"a control character", `, "locality": {"zone": "a\u0000b"}}}`, "spec.locality.zone: \"a\\x00b\" has a control character in it"},
		{"many addresses", `, "addresses": ["` + strings.Repeat(`10.0.0.1", "`, 64) + `10.0.0.2"]}}`, "spec.addresses: has 65 entries, at most 64 are kept"},
		{"a long label", `, "labels": {"a": "` + long + `"}}}`, "spec.labels.a: is longer than 1024 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := object.ParseJSON("h", []byte(head+tt.spec))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAListStandsForItsItems(t *testing.T) {
	docs, err := object.ParseDocuments("l.yaml", []byte(`
apiVersion: v1
kind: List
items:
- {apiVersion: mesh.outrigger.dev/v1alpha1, kind: MeshService, metadata: {name: a}, spec: {ports: [{name: http, port: 80}]}}
- {apiVersion: mesh.outrigger.dev/v1alpha1, kind: Host, metadata: {name: h}, spec: {key: "1"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || docs[0].Object.Metadata().Key() != "default/a" || docs[1].Object.Metadata().Key() != "h" {
		t.Errorf("it stands for %+v", docs)
	}
}

// What is stored does not depend on how it was written, and reads back as the
// same object. Of what a server adds nothing is stored.
func TestCanonicalIsTheSameForTheSameContent(t *testing.T) {
	written := []string{
		`
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: {name: r, annotations: {b: "<2>", a: "1"}}
spec:
  rules: [{backendRefs: [{port: 80, name: orders, weight: 3}], timeouts: {request: 1s}}]
  parentRefs: [{name: entry}]
`, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {annotations: {a: "1", b: "<2>"}, name: r, namespace: default, resourceVersion: "9", creationTimestamp: "2024-05-01T00:00:00Z"}
spec:
  parentRefs:
  - name: entry
  rules:
  - timeouts: {request: "1s"}
    backendRefs:
    - {name: orders, port: 80, weight: 3}
status: {revision: "7", conditions: []}
`,
	}
	const want = `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute",` +
		`"metadata":{"name":"r","namespace":"default","annotations":{"a":"1","b":"<2>"}},` +
		`"spec":{"parentRefs":[{"name":"entry"}],"rules":[{"backendRefs":[{"name":"orders","port":80,"weight":3}],"timeouts":{"request":"1s"}}]}}`
	for _, text := range written {
		docs, err := object.ParseDocuments("r.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := docs[0].Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("canonical is\n%s, want\n%s", got, want)
		}
		kind, _ := object.KindOf("HTTPRoute")
		back, err := object.DecodeStored(kind, "default/r", got)
		if err != nil {
			t.Fatal(err)
		}
		first := docs[0].Object.(*object.HTTPRoute)
		first.Created = time.Time{}
		if diff := cmp.Diff(object.Object(first), back, ignorePos); diff != "" {
			t.Errorf("read back (-first +back):\n%s", diff)
		}
		if _, err := object.DecodeStored(kind, "default/other", got); err == nil {
			t.Error("it is taken for an object of another name")
		}
	}
}

func TestKeys(t *testing.T) {
	tests := []struct{ kind, key, want string }{
		{"Host", "netbox-17.a", "Host netbox-17.a"},
		{"hosts", "a/b", ""},
		{"hosts", "", ""},
		{"MeshService", "default/orders", "MeshService default/orders"},
		{"meshservices", "orders", ""},
		{"meshservices", "Default/orders", ""},
		{"httproutes", "default/a.b", "HTTPRoute default/a.b"},
		{"httproutes", "default/a/b", ""},
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.key, func(t *testing.T) {
			k, ok := object.KindOf(tt.kind)
			if !ok {
				t.Fatal("the kind is not known")
			}
			id, err := k.ParseKey(tt.key)
			if (err == nil) != (tt.want != "") || err == nil && (id.String() != tt.want || id.Key() != tt.key) {
				t.Errorf("got %v, %v; want %q", id, err, tt.want)
			}
		})
	}
}

// Whatever JSON is accepted is stored, and what is stored must read back as
// what was accepted.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		machine,
		`{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"MeshService","metadata":{"name":"a","labels":{"x":"\u2028"}},"spec":{"ports":[{"name":"http","port":80}],"endpoints":[{"address":"10.0.0.1:80","weight":3}]}}`,
		`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r"},"spec":{"parentRefs":[{"name":"entry","port":80}],"rules":[{"matches":[{"path":{"type":"Exact","value":"/a"}}],"timeouts":{"request":"1s"},"backendRefs":[{"name":"o","port":80}]}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := object.ParseJSON("f", data)
		if err != nil {
			return
		}
		stored, err := doc.Canonical()
		if err != nil {
			t.Fatalf("what is accepted cannot be stored: %v", err)
		}
		if !json.Valid(stored) {
			t.Fatalf("%s is stored, which is no JSON", stored)
		}
		m := doc.Object.Metadata()
		kind, _ := object.KindOf(m.Kind)
		back, err := object.DecodeStored(kind, m.Key(), stored)
		if err != nil {
			t.Fatalf("what is stored cannot be read back: %v\n%s", err, stored)
		}
		ignore := cmp.FilterPath(func(p cmp.Path) bool {
			name := p.Last().String()
			return name == ".Pos" || name == ".Created"
		}, cmp.Ignore())
		if diff := cmp.Diff(doc.Object, back, ignore); diff != "" {
			t.Errorf("read back (-accepted +back):\n%s", diff)
		}
	})
}
