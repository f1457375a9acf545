package conformance

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestH2Spec runs all of h2spec, with its strict cases, against a sidecar before
// an app that reads what it is sent. testdata/h2spec.txt holds the cases that
// may fail, each with the reason: where h2spec is wrong, or older than RFC 9113.
// A case that fails and is not in it fails the test, and so does one that is in
// it and passes.
func TestH2Spec(t *testing.T) {
	s := startInbound(t, startAppH2(t, counting))
	h2spec(t, "h2c", s.address())
}

// counting is an app that says how much it has read.
var counting = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(w, "%s %d bytes", r.Method, n)
})

// leastH2Spec is how many cases a whole run has at least: 146 in version 2.2.1.
const leastH2Spec = 140

// h2spec runs it against an address, where it has the exceptions of a way: h2c, or
// tls.
func h2spec(t *testing.T, way, address string, args ...string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	command := append([]string{peer(t, "h2spec"), "--strict", "-h", host, "-p", port, "-j", report, "-o", "5"}, args...)
	out, err := runPeer(t, 3*time.Minute, command...) // its exit code is that of cases that may fail
	xmlText, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("h2spec has written no report: %v, %v\n%s", readErr, err, out)
	}
	excepted := exceptions(t, way)
	total, failed := 0, map[string]bool{}
	for _, c := range cases(t, xmlText) {
		total++
		name := c.Package + " " + c.Name
		if c.Failure == nil && c.Error == nil {
			continue
		}
		failed[name] = true
		if excepted[name] == "" {
			t.Errorf("h2spec %s: %s", name, c.what())
		}
	}
	if total < leastH2Spec {
		t.Errorf("h2spec has run %d cases, of at least %d\n%s", total, leastH2Spec, out)
	}
	for name := range excepted {
		if !failed[name] {
			t.Errorf("testdata/h2spec.txt has %q, which does not fail", name)
		}
	}
	t.Logf("h2spec: %d cases, %d failed, %d excepted", total, len(failed), len(excepted))
}

// specCase is a case of h2spec's report in JUnit's form. Package is a section,
// such as http2/8.1.2, and Name what is done.
type specCase struct {
	Package string  `xml:"package,attr"`
	Name    string  `xml:"classname,attr"`
	Failure *string `xml:"failure"`
	Error   *string `xml:"error"`
}

func (c specCase) what() string {
	var words []string
	for _, p := range []*string{c.Failure, c.Error} {
		if p != nil {
			words = append(words, strings.Fields(*p)...)
		}
	}
	return strings.Join(words, " ")
}

func cases(t *testing.T, report []byte) []specCase {
	t.Helper()
	var suites struct {
		Suites []struct {
			Cases []specCase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatalf("h2spec's report: %v\n%s", err, report)
	}
	var all []specCase
	for _, s := range suites.Suites {
		all = append(all, s.Cases...)
	}
	return all
}

// exceptions are those of a way in testdata/h2spec.txt: a line each, of the way,
// the case, " -- " and the reason.
func exceptions(t *testing.T, way string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "h2spec.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all := map[string]string{}
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, " -- ")
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("testdata/h2spec.txt:%d: an exception has a reason: WAY CASE -- REASON", n)
		}
		if rest, ours := strings.CutPrefix(name, way+" "); ours {
			all[rest] = reason
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
