package csv_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source/csv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts.csv")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func config(path string) csv.Config {
	return csv.Config{Path: path, Delimiter: ",", Encoding: "utf-8"}
}

type row struct {
	Line   int
	Fields map[string]string
}

func fetch(t testing.TB, c csv.Config) ([]row, source.Report, error) {
	t.Helper()
	var rows []row
	report, err := csv.New(c).Fetch(t.Context(), "", func(r source.Record) error {
		rows = append(rows, row{r.Place.Item, maps.Clone(r.Value.(map[string]string))})
		return nil
	})
	return rows, report, err
}

func TestRecordsHaveTheHeadersNamesAndTheirLines(t *testing.T) {
	tests := []struct {
		name, content string
		change        func(*csv.Config)
		want          []row
	}{
		{
			name: "plain", content: "id,name\n1,a\n2,b\n",
			want: []row{{2, map[string]string{"id": "1", "name": "a"}}, {3, map[string]string{"id": "2", "name": "b"}}},
		},
		{
			name: "a byte order mark is no part of the first name", content: "\ufeffid,name\r\n1,a\r\n",
			want: []row{{2, map[string]string{"id": "1", "name": "a"}}},
		},
		{
			name: "quotes hold delimiters and lines", content: "id,name\n1,\"a, \"\"b\"\"\nc\"\n\n2,d",
			want: []row{{2, map[string]string{"id": "1", "name": "a, \"b\"\nc"}}, {5, map[string]string{"id": "2", "name": "d"}}},
		},
		{
			name: "another delimiter", content: "id;name\n1;a,b\n", change: func(c *csv.Config) { c.Delimiter = ";" },
			want: []row{{2, map[string]string{"id": "1", "name": "a,b"}}},
		},
		{name: "a header alone", content: "id,name\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(write(t, tt.content))
			if tt.change != nil {
				tt.change(&c)
			}
			rows, report, err := fetch(t, c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, rows); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(source.Report{Total: len(tt.want), Full: true}, report); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrokenFilesAreRefusedWithTheirLine(t *testing.T) {
	tests := []struct {
		name, content string
		change        func(*csv.Config)
		want          string // after the path
	}{
		{name: "nothing", want: ":1: the file is empty: not even a header"},
		{name: "a column twice", content: "id,ip,id\n", want: `:1: the header names column "id" twice`},
		{name: "a column without a name", content: "id,\n", want: `:1: column 2 has the name "", which is empty or has spaces around it`},
		{name: "a column with spaces", content: "id, ip\n", want: `:1: column 2 has the name " ip", which is empty or has spaces around it`},
		{name: "a short row", content: "id,ip\n1,a\n2\n3,c\n", want: ":3: the row has another number of fields than the header's 2"},
		{name: "a long row", content: "id,ip\n1,a,b\n", want: ":2: the row has another number of fields than the header's 2"},
		{name: "not UTF-8", content: "id,ip\n1,a\n2,\xff\n", want: `:3: column "ip": not UTF-8`},
		{name: "a header that is not UTF-8", content: "i\xffd\n", want: ":1: column 1: not UTF-8"},
		{name: "a NUL", content: "id,ip\n1,\x00\n", want: `:2: column "ip": holds a NUL byte`},
		{name: "a quote that is not closed", content: "id,ip\n1,a\n2,\"b\n", want: `:3: extraneous or missing " in quoted-field`},
		{name: "a bare quote", content: "id,ip\n1,a\"b\n", want: `:2: bare " in non-quoted-field`},
		{
			name: "a field too long", content: "id,ip\n1,a\n2," + strings.Repeat("x", csv.MaxField+1) + "\n",
			want: `:3: column "ip": a field of 65537 bytes, 65536 are the most`,
		},
		{
			name: "a row too long", content: "id,ip\n1,a\n2,\"" + strings.Repeat("x\n", csv.MaxRow) + "\"\n",
			want: ":2: after this line follows a row of more than 1048576 bytes (a quote that is not closed?)",
		},
		{
			name: "a mark that is demanded", content: "id\n", change: func(c *csv.Config) { c.Encoding = "utf-8-sig" },
			want: ":1: begins with no byte order mark, which encoding utf-8-sig demands",
		},
		{
			name: "a column that is demanded", content: "id,ip\n", change: func(c *csv.Config) { c.Columns = []string{"id", "zone"} },
			want: `:1: the header has no column "zone", it has id, ip`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(write(t, tt.content))
			if tt.change != nil {
				tt.change(&c)
			}
			_, report, err := fetch(t, c)
			if want := "csv: " + c.Path + tt.want; err == nil || err.Error() != want {
				t.Errorf("error %v\nwant  %s", err, want)
			}
			if report.Total != 0 {
				t.Errorf("a report of %d records came with the error", report.Total)
			}
		})
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := fetch(t, config(filepath.Join(dir, "none.csv"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, _, err := fetch(t, config(dir)); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

func TestFileThatChangesWhileItIsReadIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(path string) error
		want   string
	}{
		{"appended to", func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("3,c\n")
			return errors.Join(err, f.Close())
		}, "changed while it was read"},
		{"touched", func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) }, "changed while it was read"},
		{"replaced", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("id,ip\n1,a\n2,c\n"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, "changed while it was read"},
		{"removed", os.Remove, "went away while it was read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, "id,ip\n1,a\n2,b\n")
			done := false
			_, err := csv.New(config(path)).Fetch(t.Context(), "", func(source.Record) error {
				if done {
					return nil
				}
				done = true
				return tt.change(path)
			})
			if err == nil || !strings.Contains(err.Error(), path+" "+tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestStampChangesWithTheFile(t *testing.T) {
	path := write(t, "id\n1\n")
	s := csv.New(config(path))
	first, err := s.Stamp()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Stamp(); err != nil || again != first {
		t.Errorf("the stamp of the same file is %q, then %q (%v)", first, again, err)
	}
	if err := os.WriteFile(path, []byte("id\n1\n2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Stamp(); err != nil || changed == first {
		t.Errorf("the stamp of a changed file is %q still (%v)", changed, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stamp(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stamp of no file: %v", err)
	}
}

func TestFetchEndsWithItsContextAndItsReceiver(t *testing.T) {
	path := write(t, "id\n1\n2\n")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := csv.New(config(path)).Fetch(ctx, "", func(source.Record) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
	enough := errors.New("enough")
	if _, err := csv.New(config(path)).Fetch(t.Context(), "", func(source.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("after its receiver: %v", err)
	}
}

// Whatever a file holds: either an error that names it, or records with every
// column, of text that can be sent on as JSON.
func FuzzFetch(f *testing.F) {
	for _, seed := range []string{
		"", "id\n", "id,ip\n1,a\n", "\ufeffid\n1\n", "id,id\n", "id\n\"a\nb\"\n", "id,ip\n1\n", "id\n\xff\n", "id\n\x00\n", "id\r\n1\r\n", "a,b\n\"x\"\"y\",z\n", "id\n\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := write(t, string(content))
		rows, report, err := fetch(t, config(path))
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		if report.Total != len(rows) || !report.Full {
			t.Fatalf("%d records came, the report is %+v", len(rows), report)
		}
		columns := -1
		for _, r := range rows {
			if columns < 0 {
				columns = len(r.Fields)
			}
			if len(r.Fields) != columns || r.Line < 2 {
				t.Fatalf("record %+v, others have %d columns", r, columns)
			}
			for name, field := range r.Fields {
				if name == "" || !utf8.ValidString(field) || strings.Contains(field, "\x00") {
					t.Fatalf("column %q holds %q", name, field)
				}
			}
		}
	})
}
