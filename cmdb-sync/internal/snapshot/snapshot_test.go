package snapshot_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/registry"
)

func example(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	s := &snapshot.Snapshot{
		Source: "idc", In: "hosts.csv", Config: "c", Time: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Total: 4,
		Entries: []snapshot.Entry{
			{Machine: mapping.Machine{
				Key: "b", Name: "", Addresses: []string{"10.0.0.1"}, Locality: registry.Locality{Zone: "z"}, Status: registry.StatusDraining,
				Labels: map[string]string{"env": ""}, Has: mapping.HasName | mapping.HasAddresses | mapping.HasZone | mapping.HasStatus, Retired: true, Word: "gone", Item: 2,
			}},
			{Machine: mapping.Machine{Key: "a", Item: 3}},
			{Machine: mapping.Machine{Key: "c", Has: mapping.HasAddresses, Item: 4}},
		},
		Quarantined: []snapshot.Quarantine{{Place: source.Place{In: "hosts.csv", Item: 5}, Key: "d", Reason: "no such key: ip"}},
	}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotIsReadAsItWasWritten(t *testing.T) {
	want := example(t)
	var file bytes.Buffer
	if err := want.Write(&file); err != nil {
		t.Fatal(err)
	}
	got, err := snapshot.Read(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want.Entries[2].Addresses = got.Entries[2].Addresses // none, in whatever form
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if len(got.Entries[2].Addresses) != 0 || got.Entries[2].Has&mapping.HasAddresses == 0 {
		t.Errorf("what is empty became absent: %+v", got.Entries[2])
	}
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	var file bytes.Buffer
	if err := example(t).Write(&file); err != nil {
		t.Fatal(err)
	}
	whole := file.String()
	tests := []struct{ name, content, want string }{
		{"nothing", "", "its first line"},
		{"another document", "{\"format\":\"x\"}\n", `its format is "x"`},
		{"half of it", whole[:strings.Index(whole, `{"key":"c"`)+4], "host 3 of 3"},
		{"no quarantine", whole[:strings.LastIndex(whole, `{"place"`)], "quarantined record 1 of 1"},
		{"a changed host", strings.Replace(whole, "10.0.0.1", "10.0.0.2", 1), "it was changed or is damaged"},
		{"a host twice", strings.Replace(whole, `"key":"a"`, `"key":"b"`, 1), `two records have the key "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := snapshot.Read(strings.NewReader(tt.content))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestHashIsOfTheHostsNotOfTheirPlaces(t *testing.T) {
	a, b := example(t), example(t)
	b.Entries[0].Item += 10
	b.Time = b.Time.Add(time.Hour)
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if a.Hash != b.Hash {
		t.Error("hosts that moved in their file have another hash")
	}
	b.Entries[0].Name = "x"
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	b.Entries[0].Has |= mapping.HasName
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	if a.Hash == b.Hash {
		t.Error("another host has the same hash")
	}
}

func TestFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put := func(text string, fail error) error {
		return snapshot.WriteFile(path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fail)
		})
	}
	if err := put("old", nil); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	if err := put("half of the new", full); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
		t.Errorf("after a failure it holds %q (%v)", data, err)
	}
	if err := put("new", nil); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "new" {
		t.Errorf("it holds %q (%v)", data, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v (%v)", left, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
}

func TestStateIsRemembered(t *testing.T) {
	d := snapshot.Dir{Path: filepath.Join(t.TempDir(), "new", "folder")}
	if s, err := d.State("idc"); s != nil || err != nil {
		t.Errorf("a first run remembers %v (%v)", s, err)
	}
	if s, err := d.Snapshot("idc"); s != nil || err != nil {
		t.Errorf("a first run has the snapshot %v (%v)", s, err)
	}
	want := &snapshot.State{Run: "r", Time: time.Unix(1, 0).UTC(), Total: 3, Hash: "h", Absent: map[string]int{"idc-1": 2}}
	if err := d.SaveState("idc", want); err != nil {
		t.Fatal(err)
	}
	got, err := d.State("idc")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if s, err := d.State("other"); s != nil || err != nil {
		t.Errorf("another source remembers %v (%v)", s, err)
	}
	if err := d.SaveSnapshot(example(t)); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Snapshot("idc"); err != nil || s.Hash != example(t).Hash {
		t.Errorf("the snapshot is %v (%v)", s, err)
	}
}
