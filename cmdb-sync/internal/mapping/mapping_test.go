package mapping_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

func compile(t testing.TB, yaml string, shape source.Shape) *mapping.Mapper {
	t.Helper()
	n, err := conf.Parse("map.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	var c mapping.Config
	if err := n.Decode(&c); err != nil {
		t.Fatal(err)
	}
	m, err := mapping.Compile(&c, shape, nil, mapping.NewPlaces([]byte(yaml)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const full = `
key: r.id
address: r.ip.split('/')[0]
name: r.name
assetID: r.?asset
network: r.network
locality: {region: r.region, zone: "r.region + '-' + r.zone", subzone: r.?rack}
status: {from: r.status, table: {active: up, maintenance: drain, broken: down, retired: remove}}
labels: {env: r.env, owner: r.?owner}
`

var record = map[string]string{
	"id": "17", "ip": "10.0.0.7/24", "name": "vm-17", "network": "", "region": "bj", "zone": "2", "status": "active", "env": "prod",
}

// with is record with other fields; "-" takes one away.
func with(fields map[string]string) map[string]string {
	r := maps.Clone(record)
	for k, v := range fields {
		if v == "-" {
			delete(r, k)
			continue
		}
		r[k] = v
	}
	return r
}

const given = mapping.HasAddresses | mapping.HasName | mapping.HasNetwork | mapping.HasRegion | mapping.HasZone | mapping.HasStatus

func base() mapping.Machine {
	return mapping.Machine{
		Key: "17", Name: "vm-17", Network: "default", Addresses: []string{"10.0.0.7"},
		Locality: registry.Locality{Region: "bj", Zone: "bj-2"}, Status: registry.StatusUp,
		Labels: map[string]string{"env": "prod"}, Has: given, Word: "active", Item: 1,
	}
}

func TestRecordsBecomeMachines(t *testing.T) {
	m := compile(t, full, source.Text)
	tests := []struct {
		name   string
		fields map[string]string
		change func(*mapping.Machine)
	}{
		{name: "as it is"},
		{name: "maintenance drains", fields: map[string]string{"status": "maintenance"}, change: func(m *mapping.Machine) {
			m.Status, m.Word = registry.StatusDraining, "maintenance"
		}},
		{name: "broken is down", fields: map[string]string{"status": "broken"}, change: func(m *mapping.Machine) {
			m.Status, m.Word = registry.StatusDown, "broken"
		}},
		{name: "retired drains and is to go", fields: map[string]string{"status": "retired"}, change: func(m *mapping.Machine) {
			m.Status, m.Word, m.Retired = registry.StatusDraining, "retired", true
		}},
		{name: "an unknown status is kept as it is", fields: map[string]string{"status": "odd"}, change: func(m *mapping.Machine) {
			m.Status, m.Word, m.Has = "", "odd", m.Has&^mapping.HasStatus
		}},
		{name: "what is empty empties", fields: map[string]string{"ip": "", "asset": "", "owner": ""}, change: func(m *mapping.Machine) {
			m.Addresses, m.Has, m.Labels = nil, m.Has|mapping.HasAssetID, map[string]string{"env": "prod", "owner": ""}
		}},
		{name: "what is optional and there is taken", fields: map[string]string{"asset": "A-1", "rack": "r7", "owner": "dba"}, change: func(m *mapping.Machine) {
			m.AssetID, m.Locality.Subzone, m.Has = "A-1", "r7", m.Has|mapping.HasAssetID|mapping.HasSubzone
			m.Labels = map[string]string{"env": "prod", "owner": "dba"}
		}},
		{name: "an IPv4 address in IPv6's clothes", fields: map[string]string{"ip": "::ffff:10.0.0.7"}},
		{name: "an IPv6 address has one form", fields: map[string]string{"ip": "2001:DB8:0::1"}, change: func(m *mapping.Machine) {
			m.Addresses = []string{"2001:db8::1"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := base()
			if tt.change != nil {
				tt.change(&want)
			}
			got, err := m.Map(source.Record{Place: source.Place{In: "t", Item: 1}, Value: with(tt.fields)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("machine (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRecordsThatCannotBeMappedSayWhyAndWhose(t *testing.T) {
	m := compile(t, full, source.Text)
	tests := []struct {
		name   string
		fields map[string]string
		want   mapping.Unmappable
	}{
		{"no key", map[string]string{"id": ""}, mapping.Unmappable{Reason: "key: the record has no key"}},
		{"no field for the key", map[string]string{"id": "-"}, mapping.Unmappable{Reason: "key: no such key: id"}},
		{"a field that is missing", map[string]string{"name": "-"}, mapping.Unmappable{Key: "17", Reason: "name: no such key: name"}},
		{"no address", map[string]string{"ip": "vm-17"}, mapping.Unmappable{Key: "17", Reason: `address: "vm-17" is not the IP address of a machine`}},
		{"an unspecified address", map[string]string{"ip": "0.0.0.0"}, mapping.Unmappable{Key: "17", Reason: `address: "0.0.0.0" is not the IP address of a machine`}},
		{"an address with a zone", map[string]string{"ip": "fe80::1%eth0"}, mapping.Unmappable{Key: "17", Reason: `address: "fe80::1%eth0" is not the IP address of a machine`}},
		{"a control character", map[string]string{"name": "a\tb"}, mapping.Unmappable{Key: "17", Reason: `name: a control character in "a\tb"`}},
		{"a name too long", map[string]string{"name": strings.Repeat("x", 254)}, mapping.Unmappable{Key: "17", Reason: "name: 254 bytes, 253 are the most"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := m.Map(source.Record{Value: with(tt.fields)})
			var got *mapping.Unmappable
			if !errors.As(err, &got) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownStatusIsWhatItIsSetTo(t *testing.T) {
	const yaml = "key: r.id\nstatus: {from: r.status, table: {active: up}, unknown: %s}\n"
	odd := source.Record{Value: with(map[string]string{"status": "odd"})}
	if m, err := compile(t, fmt.Sprintf(yaml, "up"), source.Text).Map(odd); err != nil || m.Status != registry.StatusUp {
		t.Errorf("unknown: up gives %q, %v", m.Status, err)
	}
	if m, err := compile(t, fmt.Sprintf(yaml, "keep"), source.Text).Map(odd); err != nil || m.Has&mapping.HasStatus != 0 {
		t.Errorf("unknown: keep gives %q, %v", m.Status, err)
	}
	_, err := compile(t, fmt.Sprintf(yaml, "error"), source.Text).Map(odd)
	if err == nil || err.Error() != `status.from: "odd" is not in the table` {
		t.Errorf("unknown: error gives %v", err)
	}
}

func TestTreesAreCheckedWhenTheyAreMapped(t *testing.T) {
	m := compile(t, "key: string(r.id)\naddresses: r.ips\nname: r.name\nlocality: {subzone: r.?rack.?name}\n", source.Tree)
	got, err := m.Map(source.Record{Value: map[string]any{"id": 17, "ips": []any{"10.0.0.2", "10.0.0.1", "10.0.0.2"}, "name": nil}})
	if err != nil {
		t.Fatal(err)
	}
	want := mapping.Machine{Key: "17", Addresses: []string{"10.0.0.1", "10.0.0.2"}, Has: mapping.HasAddresses | mapping.HasName}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	if _, err := m.Map(source.Record{Value: map[string]any{"id": 17, "ips": []any{1}, "name": ""}}); err == nil || err.Error() != "addresses: expected text, found int" {
		t.Errorf("a number for an address: %v", err)
	}
	if _, err := m.Map(source.Record{Value: map[string]any{"id": 17, "ips": []any{}, "name": 5}}); err == nil || err.Error() != "name: expected text, found int" {
		t.Errorf("a number for a name: %v", err)
	}
}

func TestExpressionsAreBoundedInCost(t *testing.T) {
	m := compile(t, "key: \"r.id.split('').map(a, r.id.split('').map(b, r.id.split('').size()).size()).size() > 0 ? r.id : ''\"\n", source.Text)
	_, err := m.Map(source.Record{Value: map[string]string{"id": strings.Repeat("x", 250)}})
	if err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("error %v, want the cost limit", err)
	}
}

func TestMachinesDoNotKeepTheRecord(t *testing.T) {
	m := compile(t, full, source.Text)
	value := with(nil)
	got, err := m.Map(source.Record{Value: value, Place: source.Place{Item: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for k := range value {
		value[k] = "another"
	}
	if diff := cmp.Diff(base(), got); diff != "" {
		t.Errorf("the machine changed with the record (-want +got):\n%s", diff)
	}
}

// Whatever a record holds: a machine within its bounds, or a reason.
func FuzzMap(f *testing.F) {
	f.Add("17", "10.0.0.7/24", "vm-17", "active", "prod")
	f.Add("", "", "", "", "")
	f.Add("a\x00", "::1%x", "\xff", "retired", strings.Repeat("x", 300))
	m := compile(f, full, source.Text)
	f.Fuzz(func(t *testing.T, id, ip, name, status, env string) {
		got, err := m.Map(source.Record{Value: with(map[string]string{"id": id, "ip": ip, "name": name, "status": status, "env": env})})
		if err != nil {
			var refused *mapping.Unmappable
			if !errors.As(err, &refused) || refused.Reason == "" {
				t.Fatalf("error %v has no reason", err)
			}
			return
		}
		if got.Key == "" || len(got.Name) > mapping.MaxText || len(got.Addresses) > mapping.MaxAddresses {
			t.Fatalf("machine %+v", got)
		}
	})
}

func BenchmarkMap(b *testing.B) {
	m := compile(b, full, source.Text)
	r := source.Record{Value: record}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Map(r); err != nil {
			b.Fatal(err)
		}
	}
}
