package peer

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/answerer"
	"github.com/outrigger-mesh/outrigger/bench/internal/intree"
	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// The tests' own program stands in for the benchmark's, which has the proxies
// in it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Subcommand {
		run.Main(func(ctx context.Context) error { return intree.Main(ctx, os.Args[2:]) })
	}
	if len(os.Args) > 1 && os.Args[1] == answerer.Subcommand {
		run.Main(func(ctx context.Context) error { return answerer.Main(ctx, os.Args[2:]) })
	}
	os.Exit(m.Run())
}

func site(t *testing.T, dir string) Site {
	t.Helper()
	s := Site{Dir: filepath.Join(dir, "site"), Connections: 2000}
	for _, to := range []*string{&s.Listen, &s.Admin} {
		var err error
		if *to, err = Address(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// folder is one whose path is short enough for a Unix socket in it, and that
// workers of another user may enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer") //nolint:usetesting // t.TempDir's is neither short nor open to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// launch starts a peer, and checks in the end that nothing of it is left.
func launch(t *testing.T, p Peer, s Site) *Process {
	t.Helper()
	runtime.LockOSThread() // see Start
	proc, err := Start(t.Context(), p, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Error(err)
		}
		if pids, err := procfs.Group(proc.pgid); err != nil || len(pids) > 0 {
			t.Errorf("%s is stopped, and processes %v are there, %v", p.Name, pids, err)
		}
	})
	return proc
}

func TestTemplatesRender(t *testing.T) {
	s := Site{Dir: "/dir", Listen: "127.0.0.1:20001", Admin: "127.0.0.1:20002", Backend: "127.0.0.1:20003", Connections: 100}
	entries, err := templates.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 5 {
		t.Fatalf("%d templates only", len(entries))
	}
	for _, e := range entries {
		for _, chain := range []bool{false, true} {
			text, err := render(e.Name(), s, chain)
			if err != nil {
				t.Errorf("%s: %v", e.Name(), err)
				continue
			}
			wanted := []string{s.Backend, "20001"}
			if e.Name() == "backend.nginx.conf" {
				wanted = []string{s.Listen, strings.Repeat("x", 1024)}
			}
			for _, w := range wanted {
				if !strings.Contains(text, w) {
					t.Errorf("%s: no %s in it:\n%s", e.Name(), w, text)
				}
			}
			if strings.Contains(text, "<no value>") {
				t.Errorf("%s: something is missing:\n%s", e.Name(), text)
			}
		}
	}
	for name, differs := range map[string]string{"nginx.conf": "limit_req zone", "sidecar.yaml": "accesslog"} {
		bare, _ := render(name, s, false)
		chain, _ := render(name, s, true)
		if strings.Contains(bare, differs) || !strings.Contains(chain, differs) {
			t.Errorf("%s: %s does not stand in the chain alone", name, differs)
		}
	}
	if _, err := render("nginx.conf", Site{Listen: "nowhere"}, false); err == nil {
		t.Error("an address without a port is taken")
	}
	if _, err := render("missing.conf", s, false); err == nil {
		t.Error("a template that is not there is taken")
	}
}

// exchange is one request through a peer.
func exchange(t *testing.T, address, method, path string, body []byte) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = Service
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ContentLength != int64(len(answer)) {
		t.Errorf("%s %s: Content-Length %d, and %d bytes", method, path, resp.ContentLength, len(answer))
	}
	return resp.StatusCode, answer
}

// carries checks that a peer answers all that is asked in the benchmark.
func carries(t *testing.T, address string) {
	t.Helper()
	for _, c := range []struct {
		method, path string
		body, want   int
	}{
		{http.MethodGet, "/1k", 0, 1 << 10},
		{http.MethodGet, "/64k", 0, 64 << 10},
		{http.MethodPost, "/post", 1 << 10, 1 << 10},
		{http.MethodPost, "/post", 64 << 10, 1 << 10},
		{http.MethodPost, "/post", 500 << 10, 1 << 10},
	} {
		status, answer := exchange(t, address, c.method, c.path, make([]byte, c.body))
		if status != http.StatusOK || len(answer) != c.want {
			t.Errorf("%s %s with %d bytes: status %d and %d bytes, expected 200 and %d", c.method, c.path, c.body, status, len(answer), c.want)
		}
	}
}

func TestPeersCarryRequestsAndStopWhole(t *testing.T) {
	dir := folder(t)
	backend := launch(t, Backend(), site(t, filepath.Join(dir, "backend")))
	carries(t, backend.Site.Listen)

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "sidecar")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/outrigger-mesh/outrigger/sidecar").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		peer      Peer
		program   string // from a package; the test needs it
		processes int    // at least
		writes    string // a file that has lines after requests
	}{
		{Nginx(), "nginx", 3, ""},
		{NginxChain(), "nginx", 3, "access.log"},
		{Sidecar("sidecar", binary), "", 1, ""},
		{SidecarChain("sidecar-chain", binary), "", 1, "access.log"},
		{HAProxy(), "haproxy", 1, ""},
		{Caddy(), "caddy", 1, ""},
		{ReverseProxy(self), "", 1, ""},
		{FastHTTP(self), "", 1, ""},
	} {
		t.Run(c.peer.Name, func(t *testing.T) {
			if c.program != "" {
				if _, err := find(c.program); err != nil {
					t.Skip(err)
				}
			}
			if v, err := c.peer.Version(t.Context()); err != nil || v == "" {
				t.Errorf("version %q, %v", v, err)
			}
			s := site(t, filepath.Join(dir, c.peer.Name))
			s.Backend = backend.Site.Listen
			proc := launch(t, c.peer, s)
			carries(t, s.Listen)
			pids, err := proc.PIDs()
			if err != nil || len(pids) < c.processes {
				t.Errorf("%d processes, expected %d: %v", len(pids), c.processes, err)
			}
			if m, err := proc.Memory(); err != nil || m.RSS < 1<<20 {
				t.Errorf("memory: %+v, %v", m, err)
			}
			if err := proc.Stop(); err != nil {
				t.Error(err)
			}
			if _, err := proc.PIDs(); err == nil || !strings.Contains(err.Error(), c.peer.Name+" has ended") {
				t.Errorf("after Stop: %v", err)
			}
			if c.writes != "" {
				// Written when it ends, at the latest.
				log, err := os.ReadFile(filepath.Join(s.Dir, c.writes))
				if lines := bytes.Count(log, []byte("\n")); err != nil || lines < 5 {
					t.Errorf("%s has %d lines, %v", c.writes, lines, err)
				}
			}
		})
	}
}

func TestPeersSpeakEverySetup(t *testing.T) {
	dir := folder(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := MakeCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "sidecar")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/outrigger-mesh/outrigger/sidecar").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	backend := launch(t, Backend(), site(t, filepath.Join(dir, "backend")))
	for _, setup := range everySetup[1:] {
		behind := site(t, filepath.Join(dir, "backend-"+string(setup)))
		behind.Setup = setup.Behind()
		launch(t, BackendHTTP2(self), behind)
		for _, p := range []Peer{Nginx(), HAProxy(), Sidecar("sidecar", binary)} {
			t.Run(string(setup)+" "+p.Name, func(t *testing.T) {
				if p.Name != "sidecar" {
					if _, err := find(p.Name); err != nil {
						t.Skip(err)
					}
				}
				s := site(t, filepath.Join(dir, p.Name+"-"+string(setup)))
				s.Setup, s.Certificate, s.Backend, s.BackendHTTP2 = setup, certificate, backend.Site.Listen, behind.Listen
				launch(t, p, s) // it has answered once
				spec := load.Spec{
					Mode: load.Closed, Address: s.Listen, Connections: 3, Duration: 100 * time.Millisecond,
					Request: load.Request{Method: http.MethodGet, Host: Service, Path: "/1k", Response: AnswerSize},
				}
				if setup.TLS() {
					spec.TLS = &load.TLS{CA: certificate.PEM, ServerName: Service}
				}
				if setup.HTTP2() {
					spec.Protocol, spec.Streams = load.HTTP2, 16
				}
				if setup.GRPC() {
					spec.Protocol, spec.Request = load.GRPC, load.Request{Method: http.MethodPost, Host: Service, Path: CallPath, Body: MessageSize, Response: AnswerSize}
				}
				if r, err := load.Run(t.Context(), spec); err != nil || r.Errors > 0 || r.Requests < 10 {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
	}
}

func TestPeersCanDoWhatTheySay(t *testing.T) {
	for _, setup := range everySetup {
		if !Nginx().Can(setup) || Caddy().Can(setup) != (setup == HTTP1) || NginxChain().Can(setup) != (setup == HTTP1) {
			t.Errorf("%s is not told right", setup)
		}
	}
}

// script is a peer that is a line of shell.
func script(text string) Peer {
	return Peer{Name: "script", configure: func(Site) (string, []string, error) { return "/bin/sh", []string{"-c", text}, nil }}
}

func TestPeerThatEndsTellsWhatItWrote(t *testing.T) {
	_, err := Start(t.Context(), script("echo no such directive >&2; exit 3"), site(t, folder(t)))
	if err == nil || !strings.Contains(err.Error(), "script ended instead of serving: no such directive") {
		t.Error(err)
	}
}

func TestStopEndsWhatIgnoresTerm(t *testing.T) {
	dir := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	seen := filepath.Join(dir, "seen")
	go func() {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(seen); err == nil {
				break
			}
		}
		cancel()
	}()
	_, err := Start(ctx, script(`trap "" TERM; sleep 60 & echo $$ > `+seen+`.part; mv `+seen+`.part `+seen+`; wait; sleep 60`), site(t, dir))
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Error(err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	var pgid int
	for _, c := range bytes.TrimSpace(text) {
		pgid = pgid*10 + int(c-'0')
	}
	if pids, err := procfs.Group(pgid); err != nil || len(pids) > 0 {
		t.Errorf("processes %v are there, %v", pids, err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := find("no-such-proxy"); err == nil || !strings.Contains(err.Error(), "bench/install.sh") {
		t.Error(err)
	}
	if _, err := find("haproxy2"); err == nil {
		t.Error("haproxy2 is found")
	}
	p := Sidecar("sidecar", filepath.Join(t.TempDir(), "none"))
	if _, err := p.Version(t.Context()); err == nil {
		t.Error("a program that is not there has a version")
	}
	if _, err := Start(t.Context(), p, site(t, folder(t))); err == nil {
		t.Error("a program that is not there is started")
	}
}

func TestInTreeProxiesRefuse(t *testing.T) {
	for _, args := range [][]string{nil, {"reverseproxy"}, {"squid", "-listen", "127.0.0.1:1", "-backend", "127.0.0.1:2"}, {"fasthttp", "-port", "1"}} {
		if err := intree.Main(t.Context(), args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	for _, name := range []string{"reverseproxy", "fasthttp"} {
		if err := intree.Main(t.Context(), []string{name, "-listen", "256.0.0.1:1", "-backend", "127.0.0.1:2"}); err == nil {
			t.Errorf("%s listens on what is no address", name)
		}
	}
}
