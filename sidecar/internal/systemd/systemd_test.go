package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAStateIsSentAsOneDatagram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	for _, address := range []string{path, "@outrigger-test-" + strconv.Itoa(os.Getpid())} {
		ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		for _, state := range []string{Ready, Stopping, MainPID(17), Reloading()} {
			if err := Notifier(address)(state); err != nil {
				t.Fatal(err)
			}
			_ = ln.SetReadDeadline(time.Now().Add(10 * time.Second))
			got := make([]byte, 200)
			n, err := ln.Read(got)
			if err != nil || string(got[:n]) != state {
				t.Errorf("%s: got %q, %v; want %q", address, got[:n], err, state)
			}
		}
	}
	if s := Reloading(); !strings.HasPrefix(s, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("reloading is %q", s)
	}
}

func TestAManagerThatIsNotThereIsNamed(t *testing.T) {
	if Notifier("") != nil {
		t.Error("there is somebody to tell without NOTIFY_SOCKET")
	}
	if err := Notifier(filepath.Join(t.TempDir(), "none"))(Ready); err == nil || !strings.HasPrefix(err.Error(), "NOTIFY_SOCKET: ") {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheEnvironmentSaysIsChecked(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string // empty: no error, and no socket
	}{
		{"nothing", nil, ""},
		{"another process's", map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, ""},
		{"no number", map[string]string{"LISTEN_PID": own, "LISTEN_FDS": "many"}, "LISTEN_FDS"},
		{"too many", map[string]string{"LISTEN_PID": own, "LISTEN_FDS": "100000"}, "from 0 to 128"},
		{"names that do not fit", map[string]string{"LISTEN_PID": own, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "1 names for 2 sockets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, err := Listeners(func(key string) string { return tt.env[key] })
			if len(all) != 0 || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want %q", all, err, tt.want)
			}
		})
	}
}

// passed gives a file the next free descriptor, and returns that.
func passed(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestSocketsThatWerePassedAccept(t *testing.T) {
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln.Close()
	for name, want := range map[string]string{"inbound": "inbound", "unknown": "", "sidecar.socket": ""} {
		all, err := listeners(passed(t, f), 1, []string{name})
		if err != nil || len(all) != 1 || all[0].Name != want {
			t.Fatalf("%s: %+v, %v", name, all, err)
		}
		c, err := net.DialTimeout("tcp", all[0].Listener.Addr().String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if c, err = all[0].Listener.Accept(); err != nil {
			t.Fatal(err)
		}
		c.Close()
		all[0].Listener.Close()
	}
}

func TestADescriptorThatIsNoSocketIsNamed(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if all, err := listeners(passed(t, f), 1, nil); err == nil || len(all) != 0 || !strings.Contains(err.Error(), "is not a listening stream socket") {
		t.Errorf("%v, %v", all, err)
	}
}
