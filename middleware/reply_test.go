package middleware

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func FuzzReplyTextIsValidJSON(f *testing.F) {
	for _, s := range []string{"", "plain", `"quoted" \ back`, "\x00\x1f\t\r\n\x7f", "é 世界 \U0001f600", "\xff\xfe", "a\xc3", "\u2028\u2029", "</script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendJSON([]byte("x"), s)
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil {
			t.Fatalf("%q became %s: %v", s, b[1:], err)
		}
		if want := strings.ToValidUTF8(s, "\x00"); utf8.ValidString(s) && got != want {
			t.Errorf("%q came back as %q", s, got)
		}
		oracle, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(oracle, &want); err != nil || got != want {
			t.Errorf("%q reads as %q, what encoding/json writes as %q, %v", s, got, want, err)
		}
	})
}

func TestFailAnswersWhatFitsTheError(t *testing.T) {
	tests := map[string]struct {
		err    error
		cause  error // of a cancellation
		status int
		reason Reason
		send   bool
	}{
		"refusal":                 {err: &Reject{Status: 429, Reason: "busy"}, status: 429, reason: "busy", send: true},
		"wrapped refusal":         {err: errors.Join(errors.New("x"), &Reject{Status: 429, Reason: "busy"}), status: 429, reason: "busy", send: true},
		"anything":                {err: errors.New("x"), status: 500, reason: ReasonInternal, send: true},
		"limit of the try":        {err: ErrTryTimeout, status: 504, reason: ReasonTryTimeout, send: true},
		"limit of the request":    {err: errors.New("x"), cause: ErrDeadline, status: 504, reason: ReasonDeadline, send: true},
		"idle":                    {err: errors.New("x"), cause: ErrIdle, status: 504, reason: ReasonIdleTimeout, send: true},
		"client gone":             {err: &Reject{Status: 502, Reason: ReasonUpstreamReset}, cause: ErrClientGone, status: StatusClientGone, reason: ReasonClientGone},
		"canceled by a handler":   {err: errors.New("x"), cause: &Reject{Status: 410, Reason: "gone"}, status: 410, reason: "gone", send: true},
		"canceled with any error": {cause: errors.New("x"), status: 500, reason: ReasonInternal, send: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newTestExchange()
			sent := x.Serve(HandlerFunc(func(x *Exchange) error {
				if tt.cause != nil {
					x.Cancel(tt.cause)
				}
				return tt.err
			}))
			if sent != tt.send || x.Response.Status != tt.status || x.Reason() != tt.reason || !x.Local() {
				t.Errorf("send %t, %d %s, local %t", sent, x.Response.Status, x.Reason(), x.Local())
			}
			x.End(nil)
		})
	}
}

func TestReplyReplacesAnEarlierReply(t *testing.T) {
	x := newTestExchange()
	x.Request.Header.Set(HeaderRequestID, "id-1")
	x.Serve(HandlerFunc(func(x *Exchange) error {
		if err := x.Reply(http.StatusForbidden, "no"); err != nil {
			return err
		}
		x.Response.Header.Set("x-first", "1")
		return x.ReplyMessage(http.StatusTooManyRequests, "busy", "later")
	}))
	body, err := io.ReadAll(x.Response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if diff := cmp.Diff(map[string]string{"error": "later", "reason": "busy", "request_id": "id-1"}, got); diff != "" {
		t.Error(diff)
	}
	if x.Response.Header.Has("x-first") || x.Response.ContentLength != int64(len(body)) {
		t.Errorf("header %q, length %d of %d", x.Response.Header.strings(), x.Response.ContentLength, len(body))
	}
	if err := x.Reply(500, "late"); err == nil || x.Response.Status != http.StatusTooManyRequests {
		t.Error("a reply was allowed after the response was handed to the engine")
	}
}

func TestRequestIDIsTakenOnlyWhereUsable(t *testing.T) {
	tests := map[string]struct {
		id   string
		take bool
	}{
		"uuid":         {"018f3c1e-7b1a-7c3e-9d2f-0123456789ab", true},
		"any word":     {"a/b=c;d", true},
		"longest":      {strings.Repeat("x", MaxRequestID), true},
		"too long":     {strings.Repeat("x", MaxRequestID+1), false},
		"empty":        {"", false},
		"space":        {"a b", false},
		"quote":        {`a"b`, false},
		"backslash":    {`a\b`, false},
		"control":      {"a\x1bb", false},
		"not ASCII":    {"é", false},
		"line break":   {"a\tb", false},
		"DEL":          {"a\x7f", false},
		"leading dash": {"-a", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newTestExchange()
			x.Request.Header.Set(HeaderRequestID, tt.id)
			id := string(x.RequestID())
			if (id == tt.id) != tt.take || id == "" || id != string(x.RequestID()) {
				t.Errorf("the id is %q", id)
			}
		})
	}
}
