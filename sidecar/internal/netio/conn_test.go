package netio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// pair is both ends of a connection over loopback.
func pair(t testing.TB) (ours *Conn, theirs *net.TCPConn) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	dialed, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours = New(accepted)
	theirs, _ = dialed.(*net.TCPConn)
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
	})
	return ours, theirs
}

// memory counts how its buffer is taken and given back.
type memory struct {
	buf   []byte
	taken int
	held  bool
}

func (m *memory) Take() []byte {
	m.taken++
	m.held = true
	if m.buf == nil {
		m.buf = make([]byte, 4096)
	}
	return m.buf
}

func (m *memory) Give() { m.held = false }

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func TestReadAndWriteMoveEveryByte(t *testing.T) {
	ours, theirs := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB: more than the sockets hold
	done := make(chan error, 1)
	go func() {
		n, err := ours.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		done <- errors.Join(err, ours.CloseWrite())
	}()
	got, err := io.ReadAll(theirs)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := theirs.Write(sent)
		done <- errors.Join(err, theirs.Close())
	}()
	if got, err = io.ReadAll(ours); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestLimitsEndWhatWaits(t *testing.T) {
	limitsEndWhatWaits(t, func(t *testing.T) *Conn {
		ours, _ := pair(t)
		return ours
	})
}

// limitsEndWhatWaits holds connections, whatever is spoken on them, to their
// limits.
func limitsEndWhatWaits(t *testing.T, dial func(*testing.T) *Conn) {
	const limit = 20 * time.Millisecond
	for name, wait := range map[string]func(*Conn) error{
		"each read": func(c *Conn) error {
			c.LimitRead(limit)
			_, err := c.Read(make([]byte, 1))
			return err
		},
		"a lazy read": func(c *Conn) error {
			c.LimitRead(limit)
			_, err := c.ReadLazy(&memory{})
			return err
		},
		"reads together": func(c *Conn) error {
			c.LimitReads(limit)
			_, err := c.Read(make([]byte, 1))
			return err
		},
		"each write": func(c *Conn) error {
			c.LimitWrite(limit)
			_, err := c.Write(make([]byte, 64<<20))
			return err
		},
		"round trip": func(c *Conn) error {
			c.LimitRead(limit)
			_, _, err := c.RoundTrip([]byte("x"), true, &memory{})
			return err
		},
		"the form of net.Conn": func(c *Conn) error {
			if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
				return err
			}
			_, err := c.Read(make([]byte, 1))
			return err
		},
		"the form of net.Conn for writes": func(c *Conn) error {
			if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
				return err
			}
			_, err := c.Write(make([]byte, 64<<20))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours := dial(t)
			begin := time.Now()
			if err := wait(ours); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			if took := time.Since(begin); took < limit {
				t.Errorf("ended after %v, %v were given", took, limit)
			}
		})
	}
}

// The runtime's timer of an earlier operation must neither end a later one
// before its time nor keep it from ending.
func TestALimitHoldsForItsOwnOperationAlone(t *testing.T) {
	ours, theirs := pair(t)
	one := make([]byte, 1)
	ours.LimitRead(time.Millisecond)
	if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	write(t, theirs, "a")
	ours.LimitRead(time.Hour)
	if _, err := ours.Read(one); err != nil {
		t.Fatalf("what is there cannot be read: %v", err)
	}
	release := time.AfterFunc(30*time.Millisecond, func() { _, _ = theirs.Write([]byte("b")) })
	defer release.Stop()
	ours.LimitRead(0) // the timer is still set, for an hour
	if _, err := ours.Read(one); err != nil || one[0] != 'b' {
		t.Fatalf("got %q, %v", one, err)
	}
	ours.LimitRead(20 * time.Millisecond)
	if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a shorter limit after a longer one: got %v", err)
	}
	ours.LimitRead(0)
	again := time.AfterFunc(30*time.Millisecond, func() { _, _ = theirs.Write([]byte("c")) })
	defer again.Stop()
	if _, err := ours.Read(one); err != nil || one[0] != 'c' {
		t.Fatalf("no limit after one that has passed: got %q, %v", one, err)
	}
}

func TestReadsTogetherEndThoughBytesCome(t *testing.T) {
	ours, theirs := pair(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				_, _ = theirs.Write([]byte("."))
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	ours.LimitReads(50 * time.Millisecond)
	one := make([]byte, 1)
	var err error
	for n := 0; err == nil; n++ {
		if n > 1000 {
			t.Fatal("it never ends")
		}
		_, err = ours.Read(one)
	}
	close(stop)
	<-done
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestBreakEndsWhatWaitsUntilItIsMended(t *testing.T) {
	ours, theirs := pair(t)
	one := make([]byte, 1)
	for range 100 { // before, while and after the wait begins
		go ours.BreakRead()
		ours.LimitRead(time.Hour)
		if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if _, err := ours.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a second read: got %v", err)
		}
		for !ours.ReadBroken() {
			t.Fatal("broken, and does not say so")
		}
		ours.MendRead()
		write(t, theirs, "x")
		if _, err := ours.Read(one); err != nil {
			t.Fatalf("after MendRead: %v", err)
		}
	}
	go ours.BreakWrite()
	if _, err := ours.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: got %v", err)
	}
}

func TestALazyReadHoldsNoBufferWhileItWaits(t *testing.T) {
	ours, theirs := pair(t)
	m := &memory{}
	type result struct {
		n   int
		err error
	}
	done := make(chan result)
	read := func() {
		n, err := ours.ReadLazy(m)
		done <- result{n, err}
	}
	write(t, theirs, "there")
	for end := time.Now().Add(5 * time.Second); ours.Alive(); {
		if time.Now().After(end) {
			t.Fatal("it never arrives")
		}
	}
	go read()
	if r := <-done; r.n != 5 || r.err != nil || m.taken != 1 || !m.held {
		t.Fatalf("%+v, taken %d times", r, m.taken)
	}
	m.Give()
	ours.LimitRead(20 * time.Millisecond)
	go read()
	if r := <-done; !errors.Is(r.err, os.ErrDeadlineExceeded) || m.held {
		t.Errorf("a wait in vain: %v, buffer held: %v", r.err, m.held)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Run("the response", func(t *testing.T) {
		ours, theirs := pair(t)
		go func() {
			b := make([]byte, 16)
			n, _ := theirs.Read(b)
			_, _ = theirs.Write([]byte(strings.ToUpper(string(b[:n]))))
		}()
		m := &memory{}
		n, wrote, err := ours.RoundTrip([]byte("request"), true, m)
		if err != nil || !wrote || string(m.buf[:n]) != "REQUEST" {
			t.Errorf("%q, %v, %v", m.buf[:n], wrote, err)
		}
	})
	t.Run("a request larger than the socket", func(t *testing.T) {
		ours, theirs := pair(t)
		large := make([]byte, 32<<20)
		go func() {
			_, _ = io.CopyN(io.Discard, theirs, int64(len(large)))
			_, _ = theirs.Write([]byte("ok"))
		}()
		m := &memory{}
		n, wrote, err := ours.RoundTrip(large, true, m)
		if err != nil || !wrote || string(m.buf[:n]) != "ok" {
			t.Errorf("%q, %v, %v", m.buf[:n], wrote, err)
		}
	})
	for name, spoil := range map[string]func(*net.TCPConn) error{
		"closed": (*net.TCPConn).Close,
		"spoken": func(c *net.TCPConn) error {
			_, err := c.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			if err := spoil(theirs); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(5 * time.Second); ours.Alive(); {
				if time.Now().After(end) {
					t.Fatal("it never arrives")
				}
			}
			if _, wrote, err := ours.RoundTrip([]byte("x"), true, &memory{}); !errors.Is(err, ErrStale) || wrote {
				t.Errorf("got %v, %v", wrote, err)
			}
		})
	}
	t.Run("an answer that is there before the request", func(t *testing.T) {
		ours, theirs := pair(t)
		write(t, theirs, "early")
		for end := time.Now().Add(5 * time.Second); ours.Alive(); {
			if time.Now().After(end) {
				t.Fatal("it never arrives")
			}
		}
		m := &memory{}
		ours.LimitRead(5 * time.Second)
		n, _, err := ours.RoundTrip([]byte("x"), false, m)
		if err != nil || string(m.buf[:n]) != "early" {
			t.Errorf("%q, %v", m.buf[:n], err)
		}
	})
}

func TestReadNowNeverWaits(t *testing.T) {
	ours, theirs := pair(t)
	b := make([]byte, 8)
	if n, err := ours.ReadNow(b); n != 0 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	write(t, theirs, "now")
	for end := time.Now().Add(5 * time.Second); ; {
		n, err := ours.ReadNow(b)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d, %v", n, err)
		}
		if n > 0 {
			if string(b[:n]) != "now" {
				t.Errorf("%q", b[:n])
			}
			break
		}
	}
	_ = theirs.Close()
	for end := time.Now().Add(5 * time.Second); ; {
		if _, err := ours.ReadNow(b); errors.Is(err, io.EOF) {
			return
		} else if err != nil || time.Now().After(end) {
			t.Fatalf("the end is not seen: %v", err)
		}
	}
}

func TestAwaitEndLeavesWhatIsThere(t *testing.T) {
	ours, theirs := pair(t)
	write(t, theirs, "next")
	if ours.AwaitEnd() {
		t.Error("bytes are no end")
	}
	b := make([]byte, 8)
	if n, err := ours.Read(b); err != nil || string(b[:n]) != "next" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	go func() { _ = theirs.Close() }()
	if !ours.AwaitEnd() {
		t.Error("the end is not seen")
	}
	other, _ := pair(t)
	go other.BreakRead()
	if other.AwaitEnd() {
		t.Error("a broken wait is no end")
	}
}

// What is no socket of the net package, TLS say, works by net.Conn's methods.
func TestOtherConnections(t *testing.T) {
	a, b := net.Pipe()
	ours := New(a)
	defer func() { _ = ours.Close() }()
	go func() {
		buf := make([]byte, 8)
		n, _ := b.Read(buf)
		_, _ = b.Write(buf[:n])
	}()
	m := &memory{}
	if n, wrote, err := ours.RoundTrip([]byte("echo"), true, m); err != nil || !wrote || string(m.buf[:n]) != "echo" {
		t.Fatalf("%q, %v, %v", m.buf[:n], wrote, err)
	}
	ours.LimitRead(10 * time.Millisecond)
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("limit: %v", err)
	}
	ours.LimitRead(time.Hour)
	go ours.BreakRead()
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("break: %v", err)
	}
	ours.MendRead()
	go func() { _, _ = b.Write([]byte("x")) }()
	if _, err := ours.Read(make([]byte, 1)); err != nil {
		t.Errorf("mend: %v", err)
	}
	ours.LimitWrite(10 * time.Millisecond)
	if _, err := ours.Write([]byte("nobody reads")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	if New(ours) != ours {
		t.Error("a Conn was wrapped again")
	}
}

// echo answers what comes with itself.
func echo(nc io.ReadWriter) {
	b := make([]byte, 64)
	for {
		n, err := nc.Read(b)
		if err != nil {
			return
		}
		_, _ = nc.Write(b[:n])
	}
}

// roundTrips is how much a round trip allocates.
func roundTrips(t *testing.T, ours *Conn, theirs io.ReadWriter) float64 {
	t.Helper()
	go echo(theirs)
	m := &memory{}
	request := []byte("ping")
	return testing.AllocsPerRun(200, func() {
		ours.LimitRead(time.Minute)
		if _, _, err := ours.RoundTrip(request, true, m); err != nil {
			t.Fatal(err)
		}
	})
}

func TestARoundTripAllocatesNothing(t *testing.T) {
	ours, theirs := pair(t)
	if n := roundTrips(t, ours, theirs); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	ours, theirs := pair(b)
	benchmarkRoundTrip(b, ours, theirs)
}

func benchmarkRoundTrip(b *testing.B, ours *Conn, theirs io.ReadWriter) {
	go echo(theirs)
	m := &memory{}
	request := []byte("ping")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ours.RoundTrip(request, true, m); err != nil {
			b.Fatal(err)
		}
	}
}
