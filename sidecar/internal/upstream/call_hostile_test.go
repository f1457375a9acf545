package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// post is a request with a body of which nothing comes before it is let.
func post(c *Cluster) (x *middleware.Exchange, body *io.PipeWriter) {
	r, w := io.Pipe()
	return withBody(request2(c), r, -1), w
}

func TestWhatAnEndpointHasNotLookedAtIsSentAgain(t *testing.T) {
	goAway := func(p *peer2, id uint32) { _ = p.WriteGoAway(id-1, http2.ErrCodeNo, nil) }
	refuse := func(p *peer2, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeRefusedStream) }
	for name, f := range map[string]func(*peer2, uint32){"GOAWAY": goAway, "REFUSED_STREAM": refuse} {
		t.Run(name, func(t *testing.T) {
			bodies := make(chan string, 10)
			var seen atomic.Int64
			address := newPeer2(t, func(_ int, p *peer2) {
				_ = p.WriteSettings()
				got := map[uint32]string{}
				for {
					switch fr := p.next().(type) {
					case nil:
						return
					case *http2.MetaHeadersFrame:
						if seen.Add(1) == 1 {
							f(p, fr.StreamID)
							continue
						}
						p.respond(fr.StreamID, false, ":status", "200") // before there is a body
						if fr.StreamEnded() {
							_ = p.WriteData(fr.StreamID, true, nil)
							bodies <- ""
						}
					case *http2.DataFrame:
						got[fr.StreamID] += string(fr.Data())
						if fr.StreamEnded() {
							_ = p.WriteData(fr.StreamID, true, nil)
							bodies <- got[fr.StreamID]
						}
					}
				}
			})
			c := cluster2(t, registry.ProtocolHTTP2, nil, address)
			streaming, body := post(c)
			for kind, x := range map[string]*middleware.Exchange{
				"none":      request2(c),
				"ready":     withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1),
				"streaming": streaming,
			} {
				seen.Store(0)
				b := newBackground(t)
				b.start(x)
				want := map[string]string{"ready": "hello", "streaming": "hello"}[kind]
				if kind == "streaming" {
					until(t, "it was sent again", func() bool { return seen.Load() == 2 })
					_, _ = body.Write([]byte("hel"))
					_, _ = body.Write([]byte("lo"))
					_ = body.Close()
				}
				if r := <-b.results; r.status != 200 || r.unsent {
					t.Errorf("%s: %+v", kind, r)
				}
				if got := <-bodies; got != want {
					t.Errorf("%s: the endpoint has read %q, want %q", kind, got, want)
				}
			}
			empty2(t, c)
		})
	}
}

func TestStreamsBelowTheLastOneOfAGoAwayAreFinished(t *testing.T) {
	var conns atomic.Int64
	address := newPeer2(t, func(n int, p *peer2) {
		conns.Store(int64(n + 1))
		_ = p.WriteSettings()
		if n > 0 {
			for id := p.head(); id != 0; id = p.head() {
				p.respond(id, true, ":status", "200")
			}
			return
		}
		first, second := p.head(), p.head()
		_ = p.WriteGoAway(first, http2.ErrCodeNo, nil)
		p.respond(first, true, ":status", "201")
		_ = second
		p.drain()
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	b := newBackground(t)
	b.start(request2(c))
	b.start(request2(c))
	one, two := (<-b.results).status, (<-b.results).status
	if one+two != 401 {
		t.Errorf("statuses %d and %d, want 201 on the old connection and 200 on a new one", one, two)
	}
	if r := finish(request2(c)); r.status != 200 || conns.Load() != 2 {
		t.Errorf("%+v over connection %d, want the second", r, conns.Load())
	}
	empty2(t, c)
}

func TestAnEndpointThatRefusesEveryStream(t *testing.T) {
	var heads atomic.Int64
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings()
		for id := p.head(); id != 0; id = p.head() {
			heads.Add(1)
			_ = p.WriteRSTStream(id, http2.ErrCodeRefusedStream)
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	if r := finish(request2(c)); r.status != 502 || r.reason != middleware.ReasonUpstreamReset || !r.unsent {
		t.Errorf("%+v, want that it may be tried elsewhere", r)
	}
	if n := heads.Load(); n != 1+maxResends {
		t.Errorf("it was sent %d times, want %d", n, 1+maxResends)
	}
	empty2(t, c)
}

func TestBadAnswersOverHTTP2(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(p *peer2, id uint32)
		status int
		reason middleware.Reason
	}{
		"reset":          {func(p *peer2, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeInternal) }, 502, middleware.ReasonUpstreamReset},
		"closed":         {func(p *peer2, _ uint32) { _ = p.nc.Close() }, 502, middleware.ReasonUpstreamReset},
		"cancel":         {func(p *peer2, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeCancel) }, 502, middleware.ReasonUpstreamReset},
		"no status":      {func(p *peer2, id uint32) { p.respond(id, true, "a", "b") }, 502, middleware.ReasonUpstreamInvalid},
		"bad status":     {func(p *peer2, id uint32) { p.respond(id, true, ":status", "20") }, 502, middleware.ReasonUpstreamInvalid},
		"upper case":     {func(p *peer2, id uint32) { p.respond(id, true, ":status", "200", "Server", "x") }, 502, middleware.ReasonUpstreamInvalid},
		"connection":     {func(p *peer2, id uint32) { p.respond(id, true, ":status", "200", "connection", "close") }, 502, middleware.ReasonUpstreamInvalid},
		"101":            {func(p *peer2, id uint32) { p.respond(id, false, ":status", "101") }, 502, middleware.ReasonUpstreamInvalid},
		"data first":     {func(p *peer2, id uint32) { _ = p.WriteData(id, true, []byte("x")) }, 502, middleware.ReasonUpstreamInvalid},
		"bad block":      {func(p *peer2, id uint32) { _ = p.WriteRawFrame(http2.FrameHeaders, 5, id, []byte{0xff, 0xff, 0xff}) }, 502, middleware.ReasonUpstreamInvalid},
		"frame too long": {func(p *peer2, id uint32) { _ = p.WriteRawFrame(http2.FrameData, 0, id, make([]byte, 17<<10)) }, 502, middleware.ReasonUpstreamInvalid},
		"too many heads": {func(p *peer2, id uint32) {
			for range maxInterim + 1 {
				p.respond(id, false, ":status", "103")
			}
		}, 502, middleware.ReasonUpstreamInvalid},
		"too many fields": {func(p *peer2, id uint32) {
			fields := []string{":status", "200"}
			for range 200 {
				fields = append(fields, "a", "b")
			}
			p.respond(id, true, fields...)
		}, 502, middleware.ReasonUpstreamInvalid},
		"103, then 200": {func(p *peer2, id uint32) {
			p.respond(id, false, ":status", "103", "link", "</a>")
			p.respond(id, true, ":status", "200")
		}, 200, ""},
		"200, then reset": {func(p *peer2, id uint32) {
			p.respond(id, true, ":status", "200")
			_ = p.WriteRSTStream(id, http2.ErrCodeNo)
		}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var heads atomic.Int64
			address := newPeer2(t, func(_ int, p *peer2) {
				_ = p.WriteSettings()
				for id := p.head(); id != 0; id = p.head() {
					heads.Add(1)
					tt.do(p, id)
				}
			})
			c := cluster2(t, registry.ProtocolGRPC, nil, address)
			r := fetch(withBody(request2(c), ready{bytes.NewReader([]byte("x"))}, 1))
			if r.status != tt.status || r.reason != tt.reason || r.unsent {
				t.Errorf("%+v, want %d %s", r, tt.status, tt.reason)
			}
			if n := heads.Load(); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
			empty2(t, c)
		})
	}
}

// TestABrokenConnectionThatHasServed: whether the endpoint has read the request
// cannot be known; it is sent again where that does no harm.
func TestABrokenConnectionThatHasServed(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "POST": 502, "DELETE": 502} {
		var heads atomic.Int64
		address := newPeer2(t, func(n int, p *peer2) {
			_ = p.WriteSettings()
			id := p.head()
			heads.Add(1)
			p.respond(id, true, ":status", "200")
			if id = p.head(); id != 0 && n == 0 {
				heads.Add(1)
				return // closed
			}
			p.drain()
		})
		c := cluster2(t, registry.ProtocolHTTP2, nil, address)
		finish(request2(c))
		x := request2(c)
		x.Request.Method = []byte(method)
		if r := finish(x); r.status != want || r.unsent {
			t.Errorf("%s: %+v, want %d", method, r, want)
		}
		if n := heads.Load(); n != map[int]int64{200: 3, 502: 2}[want] {
			t.Errorf("%s: %d heads came", method, n)
		}
		empty2(t, c)
	}
}

func TestAnAnswerBeforeTheBodyIsThere(t *testing.T) {
	reset := make(chan http2.ErrCode, 1)
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings()
		id := p.head()
		p.respond(id, true, ":status", "413")
		for f := p.next(); f != nil; f = p.next() {
			if r, ok := f.(*http2.RSTStreamFrame); ok {
				reset <- r.ErrCode
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	x, body := post(c)
	if r := finish(x); r.status != 413 {
		t.Errorf("%+v", r)
	}
	if code := <-reset; code != http2.ErrCodeCancel {
		t.Errorf("the rest of the request was given up with %s", code)
	}
	_ = body.CloseWithError(middleware.ErrEnded)
	until(t, "nobody reads the body", func() bool { return !x.Held() })
	empty2(t, c)
}

func TestABodyThatBreaksOffIsNoWholeOne(t *testing.T) {
	reset := make(chan http2.ErrCode, 1)
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings()
		for f := p.next(); f != nil; f = p.next() {
			switch f := f.(type) {
			case *http2.DataFrame:
				if f.StreamEnded() {
					t.Error("the body has an end")
				}
			case *http2.RSTStreamFrame:
				reset <- f.ErrCode
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	x, body := post(c)
	go func() {
		_, _ = body.Write([]byte("half"))
		_ = body.CloseWithError(errors.New("broken"))
	}()
	if r := finish(x); r.status != 400 || r.reason != middleware.ReasonClientBody {
		t.Errorf("%+v", r)
	}
	if code := <-reset; code != http2.ErrCodeCancel {
		t.Errorf("reset with %s", code)
	}
	empty2(t, c)
}

func TestAnEndpointThatDoesNotReadOrDoesNotWrite(t *testing.T) {
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
		for f := p.next(); f != nil; f = p.next() {
			if f, ok := f.(*http2.MetaHeadersFrame); ok && f.PseudoValue("method") == "GET" {
				p.respond(f.StreamID, false, ":status", "200")
				_ = p.WriteData(f.StreamID, false, []byte("half"))
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	for name, tt := range map[string]struct {
		x      *middleware.Exchange
		reason middleware.Reason
	}{
		"ready":     {withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1), middleware.ReasonIdleTimeout},
		"streaming": {withBody(request2(c), strings.NewReader("hello"), -1), middleware.ReasonIdleTimeout},
		"answer":    {request2(c), ""},
	} {
		tt.x.SetIdle(30 * time.Millisecond)
		r := fetch(tt.x)
		if r.reason != tt.reason || tt.reason == "" && (r.body != "half" || !errors.Is(r.err, middleware.ErrIdle)) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	empty2(t, c)
}

func TestAWindowThatOpensByteByByte(t *testing.T) {
	got := make(chan string, 1)
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		all := map[uint32]string{}
		for f := p.next(); f != nil; f = p.next() {
			if f, ok := f.(*http2.DataFrame); ok {
				all[f.StreamID] += string(f.Data())
				if f.StreamEnded() {
					got <- all[f.StreamID]
					p.respond(f.StreamID, true, ":status", "200")
					continue
				}
				_ = p.WriteWindowUpdate(f.StreamID, 1)
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	for _, x := range []*middleware.Exchange{
		withBody(request2(c), ready{bytes.NewReader([]byte("hello"))}, -1), withBody(request2(c), strings.NewReader("hello"), -1),
	} {
		if r := finish(x); r.status != 200 || <-got != "hello" {
			t.Errorf("%+v", r)
		}
	}
	empty2(t, c)
}

func TestDeadlinesAndCancellationEndStreams(t *testing.T) {
	resets := make(chan http2.ErrCode, 10)
	heads := make(chan uint32, 10)
	address := newPeer2(t, func(_ int, p *peer2) {
		_ = p.WriteSettings()
		for f := p.next(); f != nil; f = p.next() {
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				heads <- f.StreamID
			case *http2.RSTStreamFrame:
				resets <- f.ErrCode
			}
		}
	})
	c := cluster2(t, registry.ProtocolHTTP2, nil, address)
	stuck, body := post(c)
	defer body.Close()
	deadline := func(x *middleware.Exchange) { x.SetDeadline(time.Now().Add(time.Millisecond)) }
	for _, tt := range []struct {
		x      *middleware.Exchange
		end    func(*middleware.Exchange)
		reason middleware.Reason
	}{
		{request2(c), deadline, middleware.ReasonDeadline},
		{request2(c), func(x *middleware.Exchange) { x.Cancel(middleware.ErrClientGone) }, middleware.ReasonClientGone},
		{stuck, deadline, middleware.ReasonDeadline},
	} {
		b := newBackground(t)
		b.start(tt.x)
		<-heads
		tt.end(tt.x)
		if r := <-b.results; r.reason != tt.reason {
			t.Errorf("%+v, want %s", r, tt.reason)
		}
		if code := <-resets; code != http2.ErrCodeCancel {
			t.Errorf("reset with %s", code)
		}
	}
	empty2(t, c)
}

func TestDeclaredHTTP2OfAnEndpointThatSpeaksSomethingElse(t *testing.T) {
	other := func(say string, wait bool) string {
		return raw(t, func(nc *net.TCPConn) {
			_, _ = nc.Write([]byte(say))
			if wait {
				_, _ = io.Copy(io.Discard, nc)
			}
			_ = nc.Close()
		})
	}
	for name, tt := range map[string]struct {
		address string
		reason  middleware.Reason
		says    string
	}{
		"HTTP/1.1": {other("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true), middleware.ReasonUpstreamInvalid, "is its protocol http?"},
		"nothing":  {other("", true), middleware.ReasonConnectFailed, "it says nothing"},
		"closes":   {other("", false), middleware.ReasonConnectFailed, "it closes the connection"},
	} {
		c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.PendingTimeout = 20 * time.Millisecond }, tt.address)
		c.Configure(Config{Name: "svc", Protocol: registry.ProtocolHTTP2, ConnectTimeout: 100 * time.Millisecond, Settings: c.settings})
		b := newBackground(t) // the others wait for the same connection, longer than for one that is free
		for range 3 {
			b.start(request2(c))
		}
		r := fetch(request2(c))
		if r.reason != tt.reason || !r.unsent || !strings.Contains(r.message, tt.says) {
			t.Errorf("%s: %+v, want %s, %q", name, r, tt.reason, tt.says)
		}
		for range 3 {
			if r := <-b.results; r.reason != tt.reason || !r.unsent {
				t.Errorf("%s: %+v, want %s", name, r, tt.reason)
			}
		}
		empty2(t, c)
	}
}
