package secure

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

// watch is Files whose looks the test takes itself.
func watch(t *testing.T) (*Files, *bytes.Buffer, *prometheus.Registry) {
	t.Helper()
	var log bytes.Buffer
	r := prometheus.NewRegistry()
	return NewFiles(slog.New(slog.NewTextHandler(&log, nil)), NewMetrics(r)), &log, r
}

func reloads(t *testing.T, r *prometheus.Registry, source, result string) float64 {
	t.Helper()
	return sample(t, r, "outrigger_tls_reloads_total", map[string]string{"source": source, "result": result})
}

func expiry(t *testing.T, r *prometheus.Registry, source string) float64 {
	t.Helper()
	return sample(t, r, "outrigger_tls_certificate_expiry_seconds", map[string]string{"source": source})
}

func looks(f *Files, n int) {
	for range n {
		f.look()
	}
}

func TestAChangedPairIsReloadedWhenItHasComeToRest(t *testing.T) {
	ca, folder := securetest.NewCA(t, "test"), t.TempDir()
	first := ca.Issue(t, securetest.Leaf{Name: "first"})
	cert, key := first.Write(t, folder, "server")
	f, log, r := watch(t)
	source, err := f.KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.KeyPair(cert, key)
	if err != nil || again != source {
		t.Errorf("the same files are another source, %v", err)
	}
	old := source.Current()
	looks(f, 3)
	if source.Current() != old {
		t.Error("reloaded, and nothing has changed")
	}

	second := ca.Issue(t, securetest.Leaf{Name: "second"})
	securetest.Write(t, folder, "server.pem", second.Cert)
	looks(f, 1) // half of it is there
	securetest.Write(t, folder, "server.key", second.Key)
	looks(f, 1)
	if source.Current() != old {
		t.Error("reloaded before it came to rest")
	}
	looks(f, 1)
	if got := Name(source.Current().Certificate.Leaf); got != "second" {
		t.Fatalf("in force is %s\n%s", got, log)
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("a pair that was half written was complained of:\n%s", log)
	}
	if n := reloads(t, r, cert, "ok"); n != 1 {
		t.Errorf("%v reloads counted", n)
	}
	if got := expiry(t, r, cert); got != float64(second.TLS.Leaf.NotAfter.Unix()) {
		t.Errorf("expiry is %v", got)
	}

	now := time.Now().Add(time.Minute)
	if err := os.Chtimes(cert, now, now); err != nil {
		t.Fatal(err)
	}
	old = source.Current()
	looks(f, 3)
	if source.Current() != old {
		t.Error("a file that was only touched is no other one")
	}
}

func TestABadReloadKeepsWhatWasInForce(t *testing.T) {
	ca := securetest.NewCA(t, "test")
	good := ca.Issue(t, securetest.Leaf{Name: "good"})
	expired := ca.Issue(t, securetest.Leaf{Name: "late", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for name, c := range map[string]struct {
		spoil func(folder string)
		want  string
	}{
		"another key":    {func(d string) { securetest.Write(t, d, "server.key", ca.Issue(t, securetest.Leaf{}).Key) }, "is not the key"},
		"expired":        {func(d string) { expired.Write(t, d, "server") }, "late has expired"},
		"empty":          {func(d string) { securetest.Write(t, d, "server.pem", nil) }, "holds no certificate"},
		"gone":           {func(d string) { _ = os.Remove(filepath.Join(d, "server.key")) }, "cannot be read"},
		"much too large": {func(d string) { securetest.Write(t, d, "server.pem", make([]byte, maxPEM+1)) }, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			cert, key := good.Write(t, folder, "server")
			f, log, r := watch(t)
			source, err := f.KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(folder)
			looks(f, 2*againAfter)
			if got := Name(source.Current().Certificate.Leaf); got != "good" {
				t.Errorf("in force is %s", got)
			}
			if n := strings.Count(log.String(), c.want); n != 1 || !strings.Contains(log.String(), folder) {
				t.Errorf("said %d times:\n%s", n, log)
			}
			if n := reloads(t, r, cert, "failed"); n < 1 {
				t.Errorf("%v failures counted", n)
			}
			if st := f.Status(); len(st) != 1 || !strings.Contains(st[0].Error, c.want) || st[0].Expires == nil {
				t.Errorf("status %+v", st)
			}
			ca.Issue(t, securetest.Leaf{Name: "mended"}).Write(t, folder, "server")
			looks(f, 2)
			if got := Name(source.Current().Certificate.Leaf); got != "mended" {
				t.Errorf("after mending in force is %s\n%s", got, log)
			}
			if st := f.Status(); st[0].Error != "" {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// Kubernetes keeps the files of a secret in a folder of their own, and swaps a
// link to it.
func TestAFolderThatIsSwappedByALink(t *testing.T) {
	ca, folder := securetest.NewCA(t, "test"), t.TempDir()
	put := func(version, name string) {
		d := filepath.Join(folder, version)
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		ca.Issue(t, securetest.Leaf{Name: name}).Write(t, d, "tls")
		if err := os.Symlink(version, filepath.Join(folder, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	put("v1", "first")
	for _, name := range []string{"tls.pem", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	f, log, _ := watch(t)
	source, err := f.KeyPair(filepath.Join(folder, "tls.pem"), filepath.Join(folder, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	put("v2", "second")
	looks(f, 2)
	if got := Name(source.Current().Certificate.Leaf); got != "second" {
		t.Errorf("in force is %s\n%s", got, log)
	}
}

func TestACertificateThatBecomesValidIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, folder := securetest.NewCA(t, "test"), t.TempDir()
		cert, key := ca.Issue(t, securetest.Leaf{Name: "now", NotAfter: time.Now().Add(24 * time.Hour)}).Write(t, folder, "server")
		f, log, _ := watch(t)
		source, err := f.KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		ca.Issue(t, securetest.Leaf{Name: "soon", NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}).Write(t, folder, "server")
		go func() {
			if err := f.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(30 * time.Minute) // of the test's own clock
		if got := Name(source.Current().Certificate.Leaf); got != "now" {
			t.Errorf("in force is %s", got)
		}
		time.Sleep(35 * time.Minute)
		if got := Name(source.Current().Certificate.Leaf); got != "soon" {
			t.Errorf("in force is %s\n%s", got, log)
		}
	})
}

func TestFirstReadingFailsWithTheFile(t *testing.T) {
	ca, folder := securetest.NewCA(t, "test"), t.TempDir()
	cert, key := ca.Issue(t, securetest.Leaf{}).Write(t, folder, "server")
	f, _, _ := watch(t)
	var p *PairError
	if _, err := f.KeyPair(cert, filepath.Join(folder, "missing.key")); !errors.As(err, &p) || p.Part != PartKey || !strings.Contains(err.Error(), "missing.key") {
		t.Errorf("%v", err)
	}
	if _, err := f.KeyPair(folder, key); !errors.As(err, &p) || p.Part != PartCert || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("%v", err)
	}
	if _, err := f.Bundle(key); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("%v", err)
	}
	if st := f.Status(); len(st) != 0 {
		t.Errorf("what was never good is not watched: %+v", st)
	}
}

func TestRetainForgetsTheOthers(t *testing.T) {
	ca, folder := securetest.NewCA(t, "test"), t.TempDir()
	f, _, r := watch(t)
	a, aKey := ca.Issue(t, securetest.Leaf{}).Write(t, folder, "a")
	b, bKey := ca.Issue(t, securetest.Leaf{}).Write(t, folder, "b")
	roots := securetest.Write(t, folder, "ca.pem", ca.PEM)
	for _, pair := range [][2]string{{a, aKey}, {b, bKey}} {
		if _, err := f.KeyPair(pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	bundle, err := f.Bundle(roots)
	if err != nil {
		t.Fatal(err)
	}
	f.Retain([]string{b, bKey})
	if st := f.Status(); len(st) != 1 || !slices.Equal(st[0].Files, []string{b, bKey}) {
		t.Errorf("%+v", st)
	}
	if expiry(t, r, a) != 0 || expiry(t, r, b) == 0 {
		t.Error("the metrics are not those of what is in force")
	}
	if bundle.Current() == nil {
		t.Error("a source that is still in use has lost its value")
	}
}

func TestOthersThatCanReadAKeyAreToldOf(t *testing.T) {
	ca, folder := securetest.NewCA(t, "test"), t.TempDir()
	cert, key := ca.Issue(t, securetest.Leaf{}).Write(t, folder, "server")
	if w := KeyWarning(key); w != "" {
		t.Errorf("mode 600: %s", w)
	}
	if err := os.Chmod(key, 0o644); err != nil { //nolint:gosec // what the warning is about
		t.Fatal(err)
	}
	if w := KeyWarning(key); !strings.Contains(w, "0644") || !strings.Contains(w, key) {
		t.Errorf("%q", w)
	}
	f, log, _ := watch(t)
	if _, err := f.KeyPair(cert, key); err != nil || !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("%v\n%s", err, log)
	}
}
