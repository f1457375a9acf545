package netio

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// secured is both ends of a connection with TLS over loopback; ours is the
// server's. socket is what ours is above.
func secured(t testing.TB, version uint16) (ours *Conn, theirs *tls.Conn) {
	t.Helper()
	ca := securetest.NewCA(t, "test")
	pair := ca.Issue(t, securetest.Leaf{Hosts: []string{"server"}})
	return handshaken(t, func(below *Conn) *tls.Conn {
		return tls.Server(below, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: version, MaxVersion: version})
	}, func(nc net.Conn) *tls.Conn {
		return tls.Client(nc, &tls.Config{ServerName: "server", RootCAs: ca.Pool, MinVersion: version, MaxVersion: version})
	})
}

// securedClient is the same with ours as the client, whose server has just sent
// its session tickets.
func securedClient(t testing.TB, version uint16) (ours *Conn, theirs *tls.Conn) {
	t.Helper()
	ca := securetest.NewCA(t, "test")
	pair := ca.Issue(t, securetest.Leaf{Hosts: []string{"server"}})
	return handshaken(t, func(below *Conn) *tls.Conn {
		return tls.Client(below, &tls.Config{
			ServerName: "server", RootCAs: ca.Pool, MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		})
	}, func(nc net.Conn) *tls.Conn {
		return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{pair.TLS}, MinVersion: version, MaxVersion: version})
	})
}

func handshaken(t testing.TB, our func(*Conn) *tls.Conn, their func(net.Conn) *tls.Conn) (*Conn, *tls.Conn) {
	t.Helper()
	below, nc := pair(t)
	above, theirs := our(below), their(nc)
	done := make(chan error, 1)
	go func() { done <- theirs.HandshakeContext(t.Context()) }()
	if err := errors.Join(above.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	ours := New(above)
	t.Cleanup(func() {
		_ = theirs.Close()
		_ = ours.Close()
	})
	return ours, theirs
}

// each runs a test for both versions.
func each(t *testing.T, test func(*testing.T, uint16)) {
	t.Helper()
	for name, v := range versions {
		t.Run(name, func(t *testing.T) { test(t, v) })
	}
}

// poll waits until a condition holds.
func poll(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestTLSMovesEveryByte(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		ours, theirs := secured(t, v)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := ours.Write(sent)
			if err = errors.Join(err, ours.CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			_, err := theirs.Write(sent)
			if err = errors.Join(err, theirs.CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got, err := io.ReadAll(theirs)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("they got %d bytes of %d, %v", len(got), len(sent), err)
			}
		})
		got, err := io.ReadAll(ours)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
		}
		wg.Wait()
	})
}

func TestTLSLimitsEndWhatWaits(t *testing.T) {
	limitsEndWhatWaits(t, func(t *testing.T) *Conn {
		ours, _ := secured(t, tls.VersionTLS13)
		return ours
	})
}

// Whoever sends a record byte by byte gets no more time for it than whoever is
// silent.
func TestTLSARecordInPiecesGainsNoTime(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		socket := theirs.NetConn()
		_, _ = socket.Write([]byte{23, 3, 3, 0x20, 0}) // a record of 8 KiB begins
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				_, _ = socket.Write([]byte{0})
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	ours.LimitRead(50 * time.Millisecond)
	begin := time.Now()
	_, err := ours.Read(make([]byte, 16))
	took := time.Since(begin)
	close(stop)
	<-done
	if !errors.Is(err, os.ErrDeadlineExceeded) || took > 2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestTLSBreakEndsWhatWaitsUntilItIsMended(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	one := make([]byte, 1)
	for range 100 { // before, while and after the wait begins
		go ours.BreakRead()
		ours.LimitRead(time.Hour)
		if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if !ours.ReadBroken() {
			t.Fatal("broken, and does not say so")
		}
		ours.MendRead()
		write(t, theirs, "x")
		if _, err := ours.Read(one); err != nil || one[0] != 'x' {
			t.Fatalf("after MendRead: %q, %v", one, err)
		}
	}
	ours.BreakWrite() // with no write under way, nothing is lost
	ours.MendWrite()
	if _, err := ours.Write([]byte("y")); err != nil {
		t.Errorf("after MendWrite: %v", err)
	}
	go ours.BreakWrite()
	if _, err := ours.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: got %v", err)
	}
	// Half a record is sent: whatever comes behind it would be read as its rest.
	ours.MendWrite()
	if _, err := ours.Write([]byte("z")); err == nil {
		t.Error("a connection with half a record on it was written to")
	}
}

func TestTLSALimitHoldsForItsOwnOperationAlone(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	one := make([]byte, 1)
	ours.LimitRead(time.Millisecond)
	if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if !ours.Alive() {
		t.Error("a wait in vain is no end")
	}
	write(t, theirs, "a")
	ours.LimitRead(time.Hour)
	if _, err := ours.Read(one); err != nil {
		t.Fatalf("what is there cannot be read: %v", err)
	}
	release := time.AfterFunc(30*time.Millisecond, func() { _, _ = theirs.Write([]byte("b")) })
	defer release.Stop()
	ours.LimitRead(0)
	if _, err := ours.Read(one); err != nil || one[0] != 'b' {
		t.Fatalf("got %q, %v", one, err)
	}
}

func TestTLSALazyReadHoldsNoBufferWhileItWaits(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	m := &memory{}
	release := time.AfterFunc(20*time.Millisecond, func() { _, _ = theirs.Write([]byte("there")) })
	defer release.Stop()
	n, err := ours.ReadLazy(m)
	if err != nil || string(m.buf[:n]) != "there" || m.taken != 1 || !m.held {
		t.Fatalf("%d, %v, taken %d times", n, err, m.taken)
	}
	m.Give()
	ours.LimitRead(20 * time.Millisecond)
	if _, err := ours.ReadLazy(m); !errors.Is(err, os.ErrDeadlineExceeded) || m.held {
		t.Errorf("a wait in vain: %v, buffer held: %v", err, m.held)
	}
}

func TestTLSAwaitEnd(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		t.Run("what is there is left", func(t *testing.T) {
			ours, theirs := secured(t, v)
			write(t, theirs, "next")
			for range 2 {
				if ours.AwaitEnd() {
					t.Fatal("bytes are no end")
				}
			}
			if ours.Alive() {
				t.Error("alive, with a byte to read")
			}
			for _, read := range []func([]byte) (int, error){ours.Read, ours.ReadNow} {
				b := make([]byte, 8)
				if n, err := read(b); err != nil || string(b[:n]) != "next" {
					t.Fatalf("%q, %v", b[:n], err)
				}
				write(t, theirs, "next")
				if ours.AwaitEnd() {
					t.Fatal("bytes are no end")
				}
			}
			m := &memory{}
			if n, err := ours.ReadLazy(m); err != nil || string(m.buf[:n]) != "next" {
				t.Fatalf("%q, %v", m.buf[:n], err)
			}
		})
		for name, end := range map[string]func(*tls.Conn) error{
			"said":     (*tls.Conn).Close,
			"half":     (*tls.Conn).CloseWrite,
			"not said": func(c *tls.Conn) error { return c.NetConn().Close() },
			"reset": func(c *tls.Conn) error {
				socket, _ := c.NetConn().(*net.TCPConn)
				return errors.Join(socket.SetLinger(0), socket.Close())
			},
		} {
			t.Run(name, func(t *testing.T) {
				ours, theirs := secured(t, v)
				go func() { _ = end(theirs) }()
				if !ours.AwaitEnd() {
					t.Error("the end is not seen")
				}
			})
		}
		t.Run("broken", func(t *testing.T) {
			ours, theirs := secured(t, v)
			go ours.BreakRead()
			if ours.AwaitEnd() {
				t.Error("a broken wait is no end")
			}
			ours.MendRead()
			write(t, theirs, "x")
			if _, err := ours.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
		t.Run("our own", func(t *testing.T) {
			ours, _ := secured(t, v)
			done := make(chan bool)
			go func() { done <- ours.AwaitEnd() }()
			go func() { _ = ours.Close() }()
			if <-done {
				t.Error("what this side has closed is not the other side's end")
			}
		})
	})
}

// An end that was not said may be anybody's: what came before it is not to be
// taken for the whole.
func TestTLSAnEndThatWasNotSaid(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		ours, theirs := secured(t, v)
		write(t, theirs, "half")
		if err := theirs.NetConn().Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(ours); string(got) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", got, err)
		}
		ours, theirs = secured(t, v)
		write(t, theirs, "whole")
		if err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(ours); string(got) != "whole" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// The tickets of TLS 1.3 come when the server likes, mostly when the client has
// read nothing yet.
func TestTLSTicketsDoNotMakeAConnectionStale(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		ours, theirs := securedClient(t, v)
		for range 100 { // with the tickets read already, and with tickets that still come
			if !ours.Alive() {
				t.Fatal("tickets are no reason to give a connection up")
			}
		}
		go func() {
			b := make([]byte, 16)
			n, _ := theirs.Read(b)
			_, _ = theirs.Write([]byte(strings.ToUpper(string(b[:n]))))
			_ = theirs.Close()
		}()
		m := &memory{}
		ours.LimitRead(5 * time.Second)
		n, wrote, err := ours.RoundTrip([]byte("request"), true, m)
		if err != nil || !wrote || string(m.buf[:n]) != "REQUEST" {
			t.Fatalf("%q, %v, %v", m.buf[:n], wrote, err)
		}
		poll(t, "the end is not seen", func() bool { return !ours.Alive() })
		if _, wrote, err := ours.RoundTrip([]byte("again"), true, m); !errors.Is(err, ErrStale) || wrote {
			t.Errorf("got %v, %v", wrote, err)
		}
	})
}

func TestTLSWhatWasSpokenUnaskedMakesAConnectionStale(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		ours, theirs := securedClient(t, v)
		write(t, theirs, "HTTP/1.1 408 Request Timeout\r\n\r\n")
		poll(t, "it never arrives", func() bool { return !ours.Alive() })
		if _, wrote, err := ours.RoundTrip([]byte("x"), true, &memory{}); !errors.Is(err, ErrStale) || wrote {
			t.Errorf("got %v, %v", wrote, err)
		}
	})
}

func TestTLSReadNowNeverWaits(t *testing.T) {
	ours, theirs := secured(t, tls.VersionTLS13)
	b := make([]byte, 8)
	if n, err := ours.ReadNow(b); n != 0 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	write(t, theirs, "now")
	var n int
	poll(t, "it never arrives", func() bool {
		var err error
		if n, err = ours.ReadNow(b); err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	if string(b[:n]) != "now" {
		t.Errorf("%q", b[:n])
	}
	_ = theirs.Close()
	poll(t, "the end is not seen", func() bool {
		_, err := ours.ReadNow(b)
		return errors.Is(err, io.EOF)
	})
}

// Closing waits for nobody: not for a peer that reads nothing, not for a write
// that is stuck.
func TestTLSCloseDoesNotWait(t *testing.T) {
	ours, _ := secured(t, tls.VersionTLS13)
	ours.LimitWrite(0)
	done := make(chan error)
	go func() {
		_, err := ours.Write(make([]byte, 64<<20))
		done <- err
	}()
	ours.LimitRead(50 * time.Millisecond)
	_, _ = ours.Read(make([]byte, 1)) // a moment for the sockets to fill
	begin := time.Now()
	_ = ours.Close()
	if err := <-done; err == nil {
		t.Error("a write of 64 MiB to nobody ended well")
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}

	other, theirs := secured(t, tls.VersionTLS13)
	_ = other.Close()
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a close says goodbye: they got %v", err)
	}
	last, theirs := secured(t, tls.VersionTLS13)
	_ = last.SetLinger(0)
	_ = last.Close()
	if _, err := theirs.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a reset does not: they got %v", err)
	}
}

func TestTLSCloseWriteLeavesTheWayIn(t *testing.T) {
	each(t, func(t *testing.T, v uint16) {
		ours, theirs := secured(t, v)
		if err := ours.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("they got %v", err)
		}
		write(t, theirs, "still here")
		b := make([]byte, 16)
		if n, err := ours.Read(b); err != nil || string(b[:n]) != "still here" {
			t.Errorf("%q, %v", b[:n], err)
		}
	})
}

// What was read to see which protocol it is goes back below the record layer.
func TestUnread(t *testing.T) {
	ours, theirs := pair(t)
	write(t, theirs, "hello world")
	b := make([]byte, 5)
	if _, err := io.ReadFull(ours, b); err != nil {
		t.Fatal(err)
	}
	ours.Unread(bytes.Clone(b))
	if ours.Alive() || ours.AwaitEnd() {
		t.Error("there is something to read")
	}
	if n, err := ours.Read(b[:2]); err != nil || string(b[:n]) != "he" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	m := &memory{}
	if n, err := ours.ReadLazy(m); err != nil || string(m.buf[:n]) != "llo" {
		t.Fatalf("%q, %v", m.buf[:n], err)
	}
	if n, err := ours.ReadLazy(m); err != nil || string(m.buf[:n]) != " world" {
		t.Fatalf("%q, %v", m.buf[:n], err)
	}
}

func BenchmarkTLSRoundTrip(b *testing.B) {
	ours, theirs := secured(b, tls.VersionTLS13)
	benchmarkRoundTrip(b, ours, theirs)
}
