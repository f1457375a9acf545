package object_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

var update = flag.Bool("update", false, "write the messages that are got to testdata/bad/*.txt")

// Beside each bad file stands a .txt with all of its messages.
func TestEveryMistakeOfAFileIsNamedAtItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := object.Parse(filepath.Base(name), data)
			if err == nil || objects != nil {
				t.Fatalf("got %v, %v; want no objects and an error", objects, err)
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

func parseOne(t *testing.T, text string) object.Object {
	t.Helper()
	objects, err := object.Parse("a.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 1 {
		t.Fatalf("got %d objects, want one", len(objects))
	}
	return objects[0]
}

var ignorePos = cmpopts.IgnoreFields(object.Meta{}, "Pos")

func TestAMeshServiceIsReadWithDefaults(t *testing.T) {
	got := parseOne(t, `
apiVersion: mesh.outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: legacy, labels: {team: shop}, annotations: {note: "1"}}
spec:
  ports: [{name: web, port: 80}, {name: db, port: 5432, protocol: tcp}]
  endpoints:
  - {address: 10.1.0.1, ports: {web: 8080, db: 5432}, weight: 3, region: bj, zone: bj-1, subzone: r7}
  - {address: "::1", ports: {db: 5433}}
`)
	bj := registry.Locality{Region: "bj", Zone: "bj-1", Subzone: "r7"}
	want := &object.MeshService{
		Meta: object.Meta{
			ID:     object.ID{Kind: "MeshService", Namespace: "default", Name: "legacy"},
			Labels: map[string]string{"team": "shop"}, Annotations: map[string]string{"note": "1"},
		},
		Ports: []registry.Port{
			{Name: "web", Number: 80},
			{Name: "db", Number: 5432, Protocol: registry.ProtocolTCP},
		},
		Endpoints: []object.StaticEndpoint{
			{PortName: "web", Address: "10.1.0.1:8080", Weight: 3, Locality: bj},
			{PortName: "db", Address: "10.1.0.1:5432", Weight: 3, Locality: bj},
			{PortName: "db", Address: "[::1]:5433", Weight: 1},
		},
	}
	if diff := cmp.Diff(object.Object(want), got, ignorePos); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
}

func TestAnHTTPRouteIsNormalized(t *testing.T) {
	got := parseOne(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
  namespace: web
  creationTimestamp: "2024-05-01T00:00:00Z"
  uid: 5a0a0a5e-0000-4000-8000-000000000000   # what an API server writes is read over
  resourceVersion: "17"
spec:
  parentRefs:
  - {name: entry}
  - {name: entry, namespace: infra, port: 8443}
  - {kind: Service, group: "", name: orders, port: 80}
  - {kind: MeshService, group: mesh.outrigger.dev, name: orders, sectionName: admin}
  hostnames: [Shop.Example.test, "*.example.test"]
  rules:
  - backendRefs: [{name: orders, port: 80}]
  - name: canary
    matches:
    - path: {type: PathPrefix, value: /orders/}
      method: GET
      headers: [{name: X-Canary, value: "1"}, {name: Accept, type: RegularExpression, value: ".*json"}]
      queryParams: [{name: V, value: "2"}]
    - path: {type: Exact, value: /orders/}
    timeouts: {request: 1h2m3s4ms}
    backendRefs:
    - {name: orders, port: 80, weight: 90}
    - {kind: MeshService, group: mesh.outrigger.dev, name: orders-v2, namespace: next, port: 81, weight: 0}
status: {parents: [], revision: "17"}
`)
	orders := registry.ServiceName{Namespace: "web", Name: "orders"}
	want := &object.HTTPRoute{
		Meta: object.Meta{
			ID:      object.ID{Kind: "HTTPRoute", Namespace: "web", Name: "shop"},
			Created: time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC),
		},
		Parents: []object.Parent{
			{Kind: object.ParentGateway, Namespace: "web", Name: "entry", Port: 80},
			{Kind: object.ParentGateway, Namespace: "infra", Name: "entry", Port: 8443},
			{Kind: object.ParentService, Namespace: "web", Name: "orders", Port: 80},
			{Kind: object.ParentService, Namespace: "web", Name: "orders", PortName: "admin"},
		},
		Hostnames: []string{"shop.example.test", "*.example.test"},
		Rules: []object.Rule{
			{
				Matches:  []object.Match{{PathKind: object.PathPrefix, Path: "/"}},
				Backends: []object.Backend{{Service: orders, Port: 80, Weight: 1}},
			},
			{
				Name: "canary",
				Matches: []object.Match{
					{
						PathKind: object.PathPrefix, Path: "/orders", Method: "GET",
						Headers: []object.ValueMatch{{Name: "x-canary", Value: "1"}, {Name: "accept", Value: ".*json", Regex: true}},
						Query:   []object.ValueMatch{{Name: "V", Value: "2"}},
					},
					{PathKind: object.PathExact, Path: "/orders/"},
				},
				Timeout: time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond,
				Backends: []object.Backend{
					{Service: orders, Port: 80, Weight: 90},
					{Service: registry.ServiceName{Namespace: "next", Name: "orders-v2"}, Port: 81, Weight: 0},
				},
			},
		},
	}
	if diff := cmp.Diff(object.Object(want), got, ignorePos); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
	if pos := got.Metadata().Pos.String(); pos != "a.yaml:2:1" {
		t.Errorf("it stands at %s, want a.yaml:2:1", pos)
	}
}

func TestEmptyDocumentsArePassedOver(t *testing.T) {
	objects, err := object.Parse("a.yaml", []byte("---\n# nothing\n---\n"))
	if err != nil || len(objects) != 0 {
		t.Fatalf("got %v, %v; want nothing and no error", objects, err)
	}
}

func TestDuplicatesNameBothPlaces(t *testing.T) {
	const one = "apiVersion: mesh.outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n"
	a, err := object.Parse("a.yaml", []byte(one))
	if err != nil {
		t.Fatal(err)
	}
	b, err := object.Parse("b.yaml", []byte("---\n"+one))
	if err != nil {
		t.Fatal(err)
	}
	found := object.Duplicates(append(a, b...))
	if len(found) != 1 {
		t.Fatalf("%d duplicates are found, want one", len(found))
	}
	const want = "b.yaml:2:1: MeshService default/a is already defined at a.yaml:1:1"
	if got := found[0].Error().Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"host", "httproute", "meshservice", "missing", "unknown"} {
		data, err := os.ReadFile("testdata/bad/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := object.Parse("f.yaml", data)
		if err != nil && objects != nil {
			t.Error("objects come with an error")
		}
		for _, o := range objects {
			m := o.Metadata()
			if m.Name == "" || (m.Namespace == "") != (m.Kind == object.KindHost) || m.Pos.Line == 0 {
				t.Errorf("an object has no identity or place: %+v", m)
			}
			if s, ok := o.(*object.MeshService); ok {
				for _, e := range s.Endpoints {
					if err := registry.CheckHostPort(e.Address, false); err != nil {
						t.Errorf("an endpoint was let through: %v", err)
					}
				}
			}
		}
	})
}
