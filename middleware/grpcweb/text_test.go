package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzText holds the decoder against encoding/base64, one group at a time: it may
// take nothing else, however the text comes in.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"", "AAAA", "AAA=", "AA==", "AA==AAA=AAAA", "A", "AAAAA", "AAA=A", "=AAA", "A=AA", "AA=A", "AAAA\n", "AAB=", "AB==", "****", "AAAA AAAA", "-_-_",
		"Ym9keQ==Ym9keQ==Ym9keQ==",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, ok := oracle(text)
		for name, src := range map[string]io.Reader{
			"at once":      bytes.NewReader(text),
			"byte by byte": iotest.OneByteReader(bytes.NewReader(text)),
			"with its end": iotest.DataErrReader(bytes.NewReader(text)),
		} {
			var r textReader
			r.reset(src)
			got, err := io.ReadAll(&r)
			if (err == nil) != ok {
				t.Fatalf("%s: %q is read as %q, %v; want it to be taken: %t", name, text, got, err, ok)
			}
			if ok && !bytes.Equal(got, want) || !ok && (!bytes.HasPrefix(want, got) || !errors.Is(err, errText)) {
				t.Fatalf("%s: %q is read as %q, %v; want %q", name, text, got, err, want)
			}
		}
	})
}

// oracle is what the text stands for, as far as it can be read.
func oracle(text []byte) (data []byte, ok bool) {
	for len(text) > 0 {
		if len(text) < 4 || bytes.ContainsAny(text[:4], "\r\n") {
			return data, false
		}
		next, err := base64.StdEncoding.Strict().DecodeString(string(text[:4]))
		if err != nil {
			return append(data, next...), false
		}
		data, text = append(data, next...), text[4:]
	}
	return data, true
}

func TestAnErrorOfTheClientStaysWhatItIs(t *testing.T) {
	broken := errors.New("connection broke")
	var r textReader
	r.reset(io.MultiReader(bytes.NewReader([]byte("AAAAAA")), iotest.ErrReader(broken)))
	got, err := io.ReadAll(&r)
	if !errors.Is(err, broken) || !bytes.Equal(got, []byte{0, 0, 0}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBufferedIsWhatIsThere(t *testing.T) {
	var r textReader
	r.reset(bytes.NewReader([]byte("AAAAAAAA")))
	if n := r.Buffered(); n != 0 {
		t.Errorf("%d before anything was read", n)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil || r.Buffered() != 5 {
		t.Errorf("%d, %v", r.Buffered(), err)
	}
}
