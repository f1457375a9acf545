package http2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

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
	case id <= c.lastSeen:
		return wrong(http2.ErrCodeStreamClosed, "HEADERS on a stream that is closed")
	}
	c.lastSeen = id
	if c.final || c.err != nil { // the client has been told, or will be, that it was not taken
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
	c.lastIn = id
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
