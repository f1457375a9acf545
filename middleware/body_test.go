package middleware

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

func readers(b *Body, n int) []*BodyReader {
	all := make([]*BodyReader, n)
	for i := range all {
		all[i] = &BodyReader{body: b}
	}
	return all
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(all), err)
	}
	return string(all)
}

func TestBodyIsReadFromItsBeginningByEveryTry(t *testing.T) {
	var b Body
	b.Reset(iotest.OneByteReader(strings.NewReader("0123456789")))
	b.KeepForReplay(10)
	rs := readers(&b, 3)
	beginning := make([]byte, 4)
	if _, err := io.ReadFull(rs[0], beginning); err != nil || string(beginning) != "0123" {
		t.Fatalf("read %q, %v", beginning, err)
	}
	for i, want := range []string{"456789", "0123456789", "0123456789"} {
		if got := readAll(t, rs[i]); got != want {
			t.Errorf("reader %d: %q, want %q", i, got, want)
		}
	}
	if !b.Replayable() || b.Read() != 10 || !errors.Is(b.Err(), io.EOF) {
		t.Errorf("replayable %t, %d bytes, %v", b.Replayable(), b.Read(), b.Err())
	}
}

func TestBodyBeyondTheBoundIsLostToLaterTries(t *testing.T) {
	for name, limit := range map[string]int{"nothing kept": 0, "one byte too many": 9} {
		t.Run(name, func(t *testing.T) {
			var b Body
			b.Reset(strings.NewReader("0123456789"))
			b.KeepForReplay(limit)
			rs := readers(&b, 2)
			if got := readAll(t, rs[0]); got != "0123456789" {
				t.Errorf("the first try read %q", got)
			}
			if b.Replayable() {
				t.Error("the body counts as replayable")
			}
			if _, err := io.ReadAll(rs[1]); !errors.Is(err, ErrReplayLost) {
				t.Errorf("the second try got %v, want %v", err, ErrReplayLost)
			}
		})
	}
}

func TestBodyThatNobodyReadIsReplayable(t *testing.T) {
	var b Body
	b.Reset(strings.NewReader(strings.Repeat("x", 1<<20)))
	if !b.Replayable() || b.None() {
		t.Error("an untouched body should be there, and replayable")
	}
}

func TestAbsentBodyIsAtItsEnd(t *testing.T) {
	var b Body
	b.Reset(nil)
	b.Wrap(func(r io.Reader) io.Reader { t.Error("wrapped what is not there"); return r })
	if !b.None() || !b.Replayable() || !errors.Is(b.Err(), io.EOF) {
		t.Errorf("none %t, replayable %t, %v", b.None(), b.Replayable(), b.Err())
	}
	if got := readAll(t, readers(&b, 1)[0]); got != "" {
		t.Errorf("read %q", got)
	}
}

func TestLargestReplayBoundCounts(t *testing.T) {
	var b Body
	b.Reset(strings.NewReader("0123456789"))
	b.KeepForReplay(10)
	b.KeepForReplay(3)
	readAll(t, readers(&b, 1)[0])
	if !b.Replayable() {
		t.Error("a smaller bound took the larger one back")
	}
}

func TestReplayBoundComesTooLateAfterTheFirstByte(t *testing.T) {
	var b Body
	b.Reset(strings.NewReader("0123456789"))
	r := readers(&b, 1)[0]
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	b.KeepForReplay(100)
	readAll(t, r)
	if b.Replayable() {
		t.Error("a body without its beginning counts as replayable")
	}
}

func TestErrorOfTheClientIsEveryReadersError(t *testing.T) {
	broken := errors.New("connection broke")
	var b Body
	b.Reset(io.MultiReader(strings.NewReader("begin"), iotest.ErrReader(broken)))
	b.KeepForReplay(100)
	for i, r := range readers(&b, 2) {
		got, err := io.ReadAll(r)
		if string(got) != "begin" || !errors.Is(err, broken) {
			t.Errorf("reader %d: %q, %v", i, got, err)
		}
	}
	if !errors.Is(b.Err(), broken) {
		t.Errorf("Err is %v", b.Err())
	}
}

// TestAbandonedReadIsKept is the case of a try that is given up while it waits
// for the client: what it then gets is the next try's.
func TestAbandonedReadIsKept(t *testing.T) {
	pr, pw := io.Pipe()
	var b Body
	b.Reset(pr)
	rs := readers(&b, 2)
	var old sync.WaitGroup
	begun := make(chan struct{})
	b.Wrap(func(r io.Reader) io.Reader {
		return readFunc(func(p []byte) (int, error) { close(begun); b.src = r; return r.Read(p) })
	})
	old.Go(func() { _, _ = rs[0].Read(make([]byte, 100)) })
	<-begun
	rs[0].abandoned.Store(true)
	_, _ = pw.Write([]byte("for the second"))
	old.Wait()
	go func() { _ = pw.Close() }()
	if got := readAll(t, rs[1]); got != "for the second" {
		t.Errorf("the second try read %q", got)
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestConcurrentReadersEachGetTheWholeBody(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	want := sha256.Sum256(data)
	var b Body
	b.Reset(iotest.HalfReader(bytes.NewReader(data)))
	b.KeepForReplay(len(data))
	var wg sync.WaitGroup
	for _, r := range readers(&b, 8) {
		wg.Go(func() {
			got, err := io.ReadAll(iotest.HalfReader(r))
			if err != nil || sha256.Sum256(got) != want {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
			}
		})
	}
	wg.Wait()
}

func TestResetBodyForgetsTheLastOne(t *testing.T) {
	var b Body
	b.Reset(strings.NewReader("first"))
	b.KeepForReplay(100)
	readAll(t, readers(&b, 1)[0])
	b.Reset(strings.NewReader("second"))
	if b.Read() != 0 || b.Err() != nil || !b.Replayable() {
		t.Errorf("%d bytes, %v, replayable %t", b.Read(), b.Err(), b.Replayable())
	}
	if got := readAll(t, readers(&b, 1)[0]); got != "second" {
		t.Errorf("read %q", got)
	}
	if b.Replayable() {
		t.Error("the bound of the last body is still in force")
	}
}
