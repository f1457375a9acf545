package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// This test's own binary is the successor, which does what the variable says.
const does = "OUTRIGGER_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if what := os.Getenv(does); what != "" {
		if err := succeed(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func succeed(what string) error {
	p, err := Inherit(os.Getenv)
	if err != nil {
		return err
	}
	if p == nil {
		return errors.New("nobody to take over from")
	}
	switch what {
	case "refuses":
		p.Failed(p.Check(map[string]string{"node.id": "other"}))
		return nil
	case "waits":
		p.Waiting("the moon")
	}
	if what == "waits" {
		time.Sleep(time.Minute)
	}
	if err := p.AwaitTake(context.Background()); err != nil {
		return err
	}
	if what == "dies" {
		return errors.New("after take")
	}
	p.Taken()
	c, err := p.Listeners[0].Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "%s %s %v\n", p.Version, p.Sockets[0].Name, p.Services)
	return err
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// start starts a successor that gets the listener.
func start(t *testing.T, what string, ln *net.TCPListener) *Successor {
	t.Helper()
	t.Setenv(does, what)
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(Offer{
		Binary: self, Files: []*os.File{f}, Stderr: os.Stderr,
		State: State{
			Version: "v1", Identity: map[string]string{"node.id": "n1"}, Services: []string{"users.default:80"},
			Sockets: []SocketInfo{{Name: "outbound", Address: "127.0.0.1:0"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAConnectionThatWaitsInTheQueueIsTheSuccessors(t *testing.T) {
	ln := listen(t)
	s := start(t, "takes", ln)
	if err := s.AwaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", ln.Addr().String(), 10*time.Second) // nobody has accepted it
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := s.Commit(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Keep(); err != nil {
		t.Error(err)
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || got != "v1 outbound [users.default:80]\n" {
		t.Errorf("got %q, %v", got, err)
	}
	<-s.ended
}

func TestASuccessorThatCannotSaysWhy(t *testing.T) {
	for _, tt := range []struct {
		what, want string
		limit      time.Duration
	}{
		{"refuses", `the new process: node.id was "n1" and is "other"`, 20 * time.Second},
		{"waits", "was not ready in time: it waited for the moon", 3 * time.Second},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := start(t, tt.what, listen(t))
			if err := s.AwaitReady(within(t, tt.limit)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASuccessorThatDiesAfterTakeIsNoticed(t *testing.T) {
	s := start(t, "dies", listen(t))
	if err := s.AwaitReady(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(within(t, 20*time.Second)); err == nil || !strings.Contains(err.Error(), "ended: exit status 1 before it had taken over") {
		t.Errorf("got %v", err)
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
}

func TestASuccessorWhosePredecessorDiesTakesOver(t *testing.T) {
	for _, tt := range []struct {
		name string
		last string // of the predecessor's words
	}{{"between two words", ""}, {"within a word", `{"is":"ta`}} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			p := &Predecessor{line: newLine(a)}
			p.follow()
			go func() {
				var m message
				_ = newLine(b).receive(&m)
				_, _ = b.Write([]byte(tt.last))
				b.Close()
			}()
			if err := p.AwaitTake(within(t, 20*time.Second)); err != nil {
				t.Errorf("got %v", err)
			}
			a.Close()
		})
	}
}

func TestThatThePredecessorIsGoneIsKnownBeforeAnybodyAsks(t *testing.T) {
	a, b := net.Pipe()
	p := &Predecessor{line: newLine(a)}
	p.follow()
	select {
	case <-p.Gone():
		t.Fatal("it is gone before it has ended")
	default:
	}
	b.Close()
	select {
	case <-p.Gone():
	case <-time.After(20 * time.Second):
		t.Fatal("its end was not noticed")
	}
	if err := p.AwaitTake(within(t, 20*time.Second)); err != nil {
		t.Errorf("its place is not free: %v", err)
	}
}

func TestAPredecessorThatIsNotUnderstoodIsNotGone(t *testing.T) {
	for _, tt := range []struct{ name, word, want string }{
		{"no message", "nonsense\n", "cannot be understood"},
		{"another message", `{"is":"taken"}` + "\n", `said "taken" where "take" was expected`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			p := &Predecessor{line: newLine(a)}
			p.follow()
			go func() {
				var m message
				_ = newLine(b).receive(&m)
			}()
			if _, err := b.Write([]byte(tt.word)); err != nil {
				t.Fatal(err)
			}
			if err := p.AwaitTake(within(t, 20*time.Second)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			select {
			case <-p.Gone():
				t.Error("it is taken for gone")
			default:
			}
			a.Close()
			b.Close()
		})
	}
}

func TestTheEnvironmentIsChecked(t *testing.T) {
	for _, text := range []string{"x", "1", "-3", "9999"} {
		if _, err := Inherit(func(string) string { return text }); err == nil || !strings.HasPrefix(err.Error(), Environment+": ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if p, err := Inherit(func(string) string { return "" }); p != nil || err != nil {
		t.Errorf("without: %v, %v", p, err)
	}
	got := environment([]string{"A=1", Environment + "=9", "LISTEN_FDS=1", "LISTEN_PID=2", "B=LISTEN_X"})
	if diff := cmp.Diff([]string{"A=1", "B=LISTEN_X", Environment + "=3"}, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ho") //nolint:usetesting // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func TestTheSocketIsTheUsersAlone(t *testing.T) {
	path := socketPath(t)
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second one: %v", err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = Listen(path); err != nil {
		t.Fatalf("what was left behind is in the way: %v", err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "cannot listen at") {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file was replaced: %q, %v", b, err)
	}
}

func TestOnlyTheOwnUserAndRootMayAsk(t *testing.T) {
	for uid, ok := range map[int]bool{0: true, 1000: true, 1001: false} {
		if err := checkUser(uid, 1000); (err == nil) != ok {
			t.Errorf("user %d: %v", uid, err)
		}
	}
}

func TestARequestThatCannotBeUsedIsAnswered(t *testing.T) {
	path := socketPath(t)
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, ln, func(context.Context, Request) Result { return Result{NewPID: 7} })
	}()
	for _, text := range []string{"nonsense\n", "{}\n", `{"binary":"x"}` + "\n", `{"binary":"/nowhere/x"}` + "\n"} {
		c, err := net.DialTimeout("unix", path, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(text))
		var r Result
		if err := newLine(c).receive(&r); err != nil || !strings.HasPrefix(r.Error, "the request cannot be used: ") {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
		c.Close()
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Ask(within(t, 20*time.Second), path, Request{Binary: self}); err != nil || r.NewPID != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"is":"state","state":{"pid":1,"sockets":[{"name":"a"}]}}` + "\n"))
	f.Add([]byte("{}"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, c := net.Pipe()
		go func() {
			_, _ = c.Write(b)
			c.Close()
		}()
		l := newLine(a)
		for {
			var m message
			if l.receive(&m) != nil {
				break
			}
		}
		a.Close()
	})
}
