package host_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
)

func TestObjectNames(t *testing.T) {
	tests := []struct{ name, source, key, want string }{
		{"as it is", "netbox", "17", "netbox-17"},
		{"dots and dashes", "idc", "vm-1.bj.corp", "idc-vm-1.bj.corp"},
		{"capitals", "idc", "VM-17", "idc-vm-17-dc92dc1d"},
		{"other capitals", "idc", "Vm-17", "idc-vm-17-f1ae6f17"},
		{"spaces", "idc", "rack 3  unit 4", "idc-rack-3-unit-4-01aa1a5f"},
		{"nothing that can be in a name", "idc", "机器", "idc-ece969c3"},
		{"a dash at the end", "idc", "a-", "idc-a-9baf4407"},
		{"two dots", "idc", "a..b", "idc-a-b-f62b4241"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := host.ObjectName(tt.source, tt.key); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	long := host.ObjectName("idc", strings.Repeat("x", 300))
	if len(long) > 253 || !strings.HasPrefix(long, "idc-xxx") {
		t.Errorf("a long key has the name %s of %d bytes", long, len(long))
	}
	if other := host.ObjectName("idc", strings.Repeat("x", 301)); other == long {
		t.Error("two long keys have one name")
	}
}

// What somebody else wrote into a host survives being read and written.
func TestUnknownFieldsStay(t *testing.T) {
	const doc = `{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"Host",
		"metadata":{"name":"a","annotations":{"x":"y"},"creationTimestamp":"2026-01-01T00:00:00Z","finalizers":["f"]},
		"spec":{"key":"1","locality":{"zone":"z","building":7},"power":{"feeds":[1,2]}},
		"status":{"revision":"3"},"extra":12345678901234567890}`
	var o host.Object
	if err := json.Unmarshal([]byte(doc), &o); err != nil {
		t.Fatal(err)
	}
	o.Spec.Locality.Zone = "other"
	data, err := json.Marshal(o.Clone())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"apiVersion":"mesh.outrigger.dev/v1alpha1","extra":12345678901234567890,"kind":"Host",` +
		`"metadata":{"annotations":{"x":"y"},"finalizers":["f"],"name":"a"},` +
		`"spec":{"key":"1","locality":{"building":7,"zone":"other"},"power":{"feeds":[1,2]}}}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestInternerMakesEqualMapsOne(t *testing.T) {
	in := host.NewInterner()
	a, b := in.Map(map[string]string{"k": "v", "l": "w"}), in.Map(map[string]string{"l": "w", "k": "v"})
	a["probe"] = "x"
	if b["probe"] != "x" {
		t.Error("equal maps are two")
	}
	if c := in.Map(map[string]string{"k": "v1", "l": "w"}); c["probe"] != "" || c["k"] != "v1" {
		t.Errorf("another map became %v", c)
	}
	if in.Map(map[string]string{}) != nil {
		t.Error("an empty map is not nil")
	}
}
