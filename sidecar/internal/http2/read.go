package http2

import (
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/net/http2"
)

// readFrame reads one frame and does what it says. Its error ends the
// connection.
func (c *Conn) readFrame() error {
	if c.in.buffered() == 0 {
		c.nc.LimitRead(0) // who waits for something has a limit of its own
		if err := c.in.fill(); err != nil {
			return c.firstMissing(err)
		}
		c.heard()
	}
	c.nc.LimitReads(c.o.FrameTimeout)
	fh, err := c.fr.ReadFrameHeader()
	if c.first {
		if err := c.firstFrame(fh, err); err != nil {
			return err
		}
	}
	if err != nil {
		return c.frameError(err)
	}
	switch fh.Type {
	case http2.FrameData:
		err = c.data(fh)
	case http2.FrameWindowUpdate:
		err = c.windowUpdate(fh)
	case http2.FrameHeaders:
		err = c.headers(fh)
	default:
		var f http2.Frame
		if f, err = c.fr.ReadFrameForHeader(fh); err != nil {
			return c.frameError(err)
		}
		err = c.other(f)
	}
	return c.slow(err)
}

// firstMissing is the end of the connection; before the first frame it says that
// a server speaks something else.
func (c *Conn) firstMissing(err error) error {
	if c.first && c.client && !c.nc.ReadBroken() {
		c.mu.Lock()
		c.noH2 = true
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil { // somebody has ended it, and this is how we learn of it
		return c.err
	}
	return err
}

// firstFrame makes sure that the peer begins with SETTINGS (RFC 9113, section
// 3.4).
func (c *Conn) firstFrame(fh http2.FrameHeader, err error) error {
	var se http2.StreamError
	var ce http2.ConnectionError
	known := err == nil || errors.As(err, &se) || errors.As(err, &ce) || errors.Is(err, http2.ErrFrameTooLarge)
	if known && fh.Type == http2.FrameSettings && fh.StreamID == 0 && !fh.Flags.Has(http2.FlagSettingsAck) {
		c.first = false
		return nil
	}
	if err != nil && !known {
		return c.firstMissing(err)
	}
	if c.client {
		c.mu.Lock()
		c.noH2 = true
		c.mu.Unlock()
	}
	c.o.Trouble(TroublePreface)
	return fatal(http2.ErrCodeProtocol, "what came first is no SETTINGS frame")
}

// frameError sorts the Framer's errors: of a stream, or of the connection.
func (c *Conn) frameError(err error) error {
	var se http2.StreamError
	var ce http2.ConnectionError
	switch {
	case errors.As(err, &se):
		c.o.Trouble(TroubleProtocol)
		return c.endStream(se.StreamID, se.Code, "")
	case errors.As(err, &ce):
		reason := ""
		if d := c.fr.ErrorDetail(); d != nil {
			reason = d.Error()
		}
		t := TroubleProtocol
		if http2.ErrCode(ce) == http2.ErrCodeFlowControl {
			t = TroubleFlowControl
		}
		c.o.Trouble(t)
		return fatal(http2.ErrCode(ce), reason)
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeFrameSize, "a frame is larger than allowed")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	}
	return c.slow(err)
}

// endStream resets a stream by its number, whoever has it.
func (c *Conn) endStream(id uint32, code http2.ErrCode, reason string) error {
	c.mu.Lock()
	err := c.noise()
	if err == nil {
		err = c.answered()
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	s := c.streams[id]
	if s != nil && !c.client && !s.headSent {
		// A client that has us reset its streams gives them up as one that resets
		// them itself (CVE-2025-8671).
		if err := c.gaveUp(); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	switch {
	case s == nil:
		c.resetOf.add(id)
		_ = c.fw.WriteRSTStream(id, code)
		c.mu.Unlock()
	case c.h != nil && !s.ready: // nobody has it
		c.resetStream(s, code, reason)
		c.users--
		c.idleNow()
		c.mu.Unlock()
		s.recycle()
	default:
		c.resetStream(s, code, reason)
		c.failStream(s, s.err)
	}
	c.flush(false)
	return nil
}

// headers reads a header block.
func (c *Conn) headers(fh http2.FrameHeader) error {
	frag, itself, err := c.fragment(fh)
	if err != nil {
		return err
	}
	id, end := fh.StreamID, fh.Flags.Has(http2.FlagHeadersEndStream)
	b, err := c.place(id, end)
	if err != nil {
		return err
	}
	if itself {
		b.refuse(http2.ErrCodeProtocol, "a stream cannot depend on itself")
	}
	switch b.kind {
	case requestBlock:
		c.fields.begin(b.kind, &b.s.head, &b.s.head.Header)
	case responseBlock:
		c.head.reset()
		c.fields.begin(b.kind, &c.head, &c.head.Header)
	case trailerBlock:
		c.trailer.Reset()
		c.fields.begin(b.kind, nil, &c.trailer)
	case lostBlock:
		c.fields.begin(b.kind, nil, nil)
	}
	if err := c.decode(frag, fh.Flags.Has(http2.FlagHeadersEndHeaders)); err != nil {
		return err
	}
	if bad := c.fields.finish(end); bad != "" {
		c.o.Trouble(TroubleMalformed)
		b.refuse(http2.ErrCodeProtocol, bad)
	}
	if c.fields.large {
		c.o.Trouble(TroubleHeadTooLarge)
		if b.kind == trailerBlock {
			b.refuse(http2.ErrCodeProtocol, "too many trailer fields")
		}
	}
	return c.headDone(b, id, end)
}

// block is a header block that is being read: for whom, and what becomes of it.
type block struct {
	s      *Stream // known by this name only while the connection has it under its number
	kind   blockKind
	code   http2.ErrCode // resets the stream
	fault  string
	ignore bool // nothing becomes of it
}

func (b *block) refuse(code http2.ErrCode, fault string) {
	if b.code == 0 && !b.ignore {
		b.code, b.fault = code, fault
	}
}

// fragment reads a HEADERS frame: the part of the header block that is in it,
// valid until the next read, and whether its stream is said to depend on itself.
// (The Framer would do, with an allocation for each.)
func (c *Conn) fragment(fh http2.FrameHeader) (frag []byte, itself bool, err error) {
	wrong := func(code http2.ErrCode, reason string) ([]byte, bool, error) {
		c.o.Trouble(TroubleProtocol)
		return nil, false, fatal(code, reason)
	}
	if fh.StreamID == 0 {
		return wrong(http2.ErrCodeProtocol, "HEADERS without a stream")
	}
	b, err := c.in.piece(int(fh.Length))
	if err != nil {
		return nil, false, err
	}
	pad := 0
	if fh.Flags.Has(http2.FlagHeadersPadded) {
		if len(b) < 1 {
			return wrong(http2.ErrCodeFrameSize, "padding does not fit")
		}
		pad, b = int(b[0]), b[1:]
	}
	if fh.Flags.Has(http2.FlagHeadersPriority) {
		if len(b) < 5 {
			return wrong(http2.ErrCodeFrameSize, "a priority does not fit")
		}
		itself = binary.BigEndian.Uint32(b)&maxStreamID == fh.StreamID
		b = b[5:]
	}
	if pad > len(b) {
		return wrong(http2.ErrCodeProtocol, "padding does not fit")
	}
	return b[:len(b)-pad], itself, nil
}

// decode decodes the block that begins with a fragment; ended: it is the only
// one. What nobody wants is decoded too: the table depends on it (RFC 9113,
// section 4.3).
func (c *Conn) decode(frag []byte, ended bool) error {
	size, parts := 0, 0
	for {
		size += len(frag)
		parts++
		if size > maxBlock || parts > maxBlockParts {
			trouble := TroubleContinuation
			if size > maxBlock {
				trouble = TroubleHeadTooLarge
			}
			c.o.Trouble(trouble)
			return fatal(http2.ErrCodeEnhanceYourCalm, "a header block is too large")
		}
		if _, err := c.dec.Write(frag); err != nil {
			c.o.Trouble(TroubleCompression)
			return fatal(http2.ErrCodeCompression, "a header block cannot be decoded")
		}
		if ended {
			break
		}
		f, err := c.fr.ReadFrame()
		if err != nil {
			return c.frameError(err)
		}
		cf, ok := f.(*http2.ContinuationFrame)
		if !ok { // the Framer has seen to it
			return fatal(http2.ErrCodeProtocol, "a header block was interrupted")
		}
		frag, ended = cf.HeaderBlockFragment(), cf.HeadersEnded()
	}
	if err := c.dec.Close(); err != nil {
		c.o.Trouble(TroubleCompression)
		return fatal(http2.ErrCodeCompression, "a header block broke off")
	}
	return nil
}

// place finds, or opens, the stream that a HEADERS frame is for.
func (c *Conn) place(id uint32, end bool) (block, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := block{kind: lostBlock}
	wrong := func(code http2.ErrCode, reason string) (block, error) {
		c.o.Trouble(TroubleProtocol)
		return lost, fatal(code, reason)
	}
	if s := c.streams[id]; s != nil {
		switch {
		case s.recvEnd:
			return wrong(http2.ErrCodeStreamClosed, "HEADERS on a stream that was ended")
		case !s.ready:
			return block{s: s, kind: responseBlock}, nil
		case !end: // RFC 9113, section 8.1
			c.o.Trouble(TroubleMalformed)
			lost.refuse(http2.ErrCodeProtocol, "a second head")
			return lost, nil
		}
		return block{s: s, kind: trailerBlock}, nil
	}
	if c.resetOf.has(id) || c.client && id%2 == 1 && id < c.nextOut {
		lost.ignore = true // it was under way
		return lost, c.noise()
	}
	switch {
	case c.client:
		return wrong(http2.ErrCodeProtocol, "HEADERS on a stream that was not opened")
	case id%2 == 0:
		return wrong(http2.ErrCodeProtocol, "a client's streams have odd numbers")
	case id <= c.lastIn:
		return wrong(http2.ErrCodeStreamClosed, "HEADERS on a stream that is closed")
	}
	c.lastIn = id
	if c.final {
		lost.refuse(http2.ErrCodeRefusedStream, "")
		return lost, nil
	}
	// A stream is closed for its client before its user has finished: that there
	// are a few more of these is no fault of the client's.
	if len(c.streams) >= c.o.Streams || c.users >= 2*c.o.Streams {
		c.o.Trouble(TroubleStreamLimit)
		lost.refuse(http2.ErrCodeRefusedStream, "")
		return lost, c.gaveUp()
	}
	s := c.newStream()
	s.id, s.opened = id, true
	s.sendWindow = c.peer.window
	c.streams[id] = s
	c.users++
	return block{s: s, kind: requestBlock}, nil
}

// headDone hands a head on to whoever waits for it.
func (c *Conn) headDone(b block, id uint32, end bool) error {
	c.mu.Lock()
	switch s := c.streams[id]; {
	case b.ignore:
		c.mu.Unlock()
		return nil
	case b.code != 0:
		c.mu.Unlock()
		return c.endStream(id, b.code, b.fault)
	case s == nil || s != b.s: // it was given up meanwhile
		c.mu.Unlock()
		return nil
	}
	c.noises.earn(noiseOfStream)
	switch b.kind {
	case requestBlock:
		c.requestDone(b.s, end)
		return nil
	case trailerBlock:
		return c.trailerDone(b.s, id)
	case responseBlock, lostBlock:
	}
	return c.responseDone(b.s, id, end)
}

// requestDone gives a request to the handler. mu is held, and given back.
func (c *Conn) requestDone(s *Stream, end bool) {
	s.ready = true
	if s.head.ContentLength >= 0 && !end {
		s.declared = s.head.ContentLength
	}
	s.recvEnd = end
	c.mu.Unlock()
	c.h.Request(s)
}

// trailerDone ends a body with trailer fields. mu is held, and given back.
func (c *Conn) trailerDone(s *Stream, id uint32) error {
	if s.declared >= 0 && s.received != s.declared {
		c.o.Trouble(TroubleMalformed)
		c.mu.Unlock()
		return c.endStream(id, http2.ErrCodeProtocol, "the body is not as long as content-length says")
	}
	s.trailer, c.trailer = c.trailer, s.trailer
	s.recvEnd = true
	s.ended()
	s.readable.Broadcast()
	c.mu.Unlock()
	return nil
}

// responseDone takes a response's head, an interim one too. mu is held, and
// given back.
func (c *Conn) responseDone(s *Stream, id uint32, end bool) error {
	h := &c.head
	if h.Status < 200 {
		if end || len(s.interims) >= maxInterim {
			c.o.Trouble(TroubleMalformed)
			c.mu.Unlock()
			return c.endStream(id, http2.ErrCodeProtocol, "an interim response that is none, or too many")
		}
		s.interims = append(s.interims, &Head{Status: h.Status, Header: h.Header})
		*h = Head{}
		s.readable.Broadcast()
		c.mu.Unlock()
		return nil
	}
	noBody := s.noBody || h.Status == 304 || h.Status == 204
	switch {
	case noBody:
		s.declared = 0
		if c.fields.lengths == 0 {
			h.ContentLength = -1
		}
	case end && h.ContentLength > 0:
		c.o.Trouble(TroubleMalformed)
		c.mu.Unlock()
		return c.endStream(id, http2.ErrCodeProtocol, "the body is not as long as content-length says")
	case h.ContentLength >= 0:
		s.declared = h.ContentLength
	}
	s.head, c.head = c.head, s.head
	s.ready = true
	s.recvEnd = end
	s.ended()
	s.readable.Broadcast()
	c.mu.Unlock()
	return nil
}

// data reads a DATA frame, straight to where its reader finds it.
func (c *Conn) data(fh http2.FrameHeader) error {
	if fh.StreamID == 0 {
		c.o.Trouble(TroubleProtocol)
		return fatal(http2.ErrCodeProtocol, "DATA without a stream")
	}
	n, pad := int(fh.Length), 0
	if fh.Flags.Has(http2.FlagDataPadded) {
		var length [1]byte
		if n == 0 {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeFrameSize, "padding does not fit") // RFC 9113, section 4.2
		}
		if err := c.in.full(length[:]); err != nil {
			return err
		}
		n--
		if pad = int(length[0]); pad > n {
			c.o.Trouble(TroubleProtocol)
			return fatal(http2.ErrCodeProtocol, "padding does not fit")
		}
		n -= pad
	}
	end := fh.Flags.Has(http2.FlagDataEndStream)
	c.mu.Lock()
	if int(fh.Length) > c.recvLeft {
		c.mu.Unlock()
		c.o.Trouble(TroubleFlowControl)
		return fatal(http2.ErrCodeFlowControl, "more data than the connection's window has room for")
	}
	c.recvLeft -= int(fh.Length)
	s := c.streams[fh.StreamID]
	code, fault, err := c.dataFault(s, fh, n, end)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	if s == nil || code != 0 {
		said := c.giveBack(int(fh.Length))
		c.mu.Unlock()
		if err := c.in.skip(n + pad); err != nil {
			return err
		}
		if code != 0 {
			return c.endStream(fh.StreamID, code, fault)
		}
		if said {
			c.flush(false)
		}
		return nil
	}
	s.recvLeft -= int(fh.Length)
	c.mu.Unlock()
	return c.take(s, fh, n, pad, end)
}

// take reads a frame's data. The stream's user may finish it meanwhile.
func (c *Conn) take(s *Stream, fh http2.FrameHeader, n, pad int, end bool) error {
	var k *chunk
	if n > 0 {
		k = newChunk(n)
		if err := c.in.full(k.b[:n]); err != nil {
			k.release()
			return err
		}
		k.w = n
	}
	if err := c.in.skip(pad); err != nil {
		if k != nil {
			k.release()
		}
		return err
	}
	c.mu.Lock()
	extra := int(fh.Length) - n
	if c.streams[fh.StreamID] != s {
		said := c.giveBack(int(fh.Length))
		c.mu.Unlock()
		if k != nil {
			k.release()
		}
		if said {
			c.flush(false)
		}
		return nil
	}
	said := false
	if n > 0 {
		if to := s.body.room(n); to != nil {
			copy(to, k.b[:n])
			s.body.last.w += n
			s.body.size += n
			k.release()
		} else {
			s.body.push(k)
		}
		s.received += int64(n)
		c.worked(n)
	}
	if extra > 0 {
		said = s.give(extra)
	}
	if end {
		s.recvEnd = true
		s.ended()
	}
	s.readable.Broadcast()
	c.mu.Unlock()
	if said {
		c.flush(false)
	}
	return nil
}

// dataFault says what is wrong with a DATA frame: code ends the stream, err the
// connection. mu is held.
func (c *Conn) dataFault(s *Stream, fh http2.FrameHeader, n int, end bool) (code http2.ErrCode, fault string, err error) {
	if n == 0 && !end {
		if err := c.noise(); err != nil {
			return 0, "", err
		}
	}
	if s == nil {
		if c.idle(fh.StreamID) {
			c.o.Trouble(TroubleProtocol)
			return 0, "", fatal(http2.ErrCodeProtocol, "DATA on a stream that was not opened")
		}
		if err := c.noiseOf(n); err != nil {
			return 0, "", err
		}
		if c.resetOf.has(fh.StreamID) {
			return 0, "", nil
		}
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeStreamClosed, "DATA on a stream that is closed", nil
	}
	switch total := s.received + int64(n); {
	case s.recvEnd:
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeStreamClosed, "DATA on a stream that was ended", nil
	case !s.ready:
		c.o.Trouble(TroubleProtocol)
		return http2.ErrCodeProtocol, "DATA before the head", nil
	case int(fh.Length) > s.recvLeft:
		c.o.Trouble(TroubleFlowControl)
		return http2.ErrCodeFlowControl, "more data than the stream's window has room for", nil
	case s.declared >= 0 && (total > s.declared || end && total < s.declared):
		c.o.Trouble(TroubleMalformed)
		return http2.ErrCodeProtocol, "the body is not as long as content-length says", nil
	}
	return 0, "", nil
}

// noiseOf counts data that nobody wants. mu is held.
func (c *Conn) noiseOf(n int) error {
	if n >= frameSize/2 {
		return nil // it costs the peer more than us
	}
	return c.noise()
}

// idle reports whether a stream was never opened. mu is held.
func (c *Conn) idle(id uint32) bool {
	if ours := id%2 == 1; ours == c.client {
		return id >= c.nextOut || !c.client
	}
	return id > c.lastIn
}

// recent remembers the last few streams that we have reset.
type recent struct {
	ids [64]uint32
	at  int
}

func (r *recent) add(id uint32) {
	r.ids[r.at%len(r.ids)] = id
	r.at++
}

func (r *recent) has(id uint32) bool {
	for _, x := range r.ids {
		if x == id {
			return true
		}
	}
	return false
}
