package http2

import (
	"time"

	"golang.org/x/net/http2"
)

// Trouble is what a peer has done wrong: one of a fixed list, a label of
// metrics.
type Trouble string

// The values of Trouble.
const (
	TroublePreface      Trouble = "preface"   // what came is no HTTP/2
	TroubleProtocol     Trouble = "protocol"  // a frame that must not come, or not so
	TroubleMalformed    Trouble = "malformed" // a head or a body that is none
	TroubleHeadTooLarge Trouble = "head_too_large"
	TroubleCompression  Trouble = "compression" // a header block that cannot be decoded
	TroubleFlowControl  Trouble = "flow_control"
	TroubleStreamLimit  Trouble = "stream_limit" // more streams than are allowed: refused
	TroubleRapidReset   Trouble = "rapid_reset"  // streams opened only to be reset (CVE-2023-44487)
	TroubleContinuation Trouble = "continuation" // a header block in too many pieces (CVE-2024-27316)
	TroubleFlood        Trouble = "flood"        // frames that are of no use: PING, SETTINGS, empty DATA, ... (CVE-2019-9512 and others)
	TroubleUnread       Trouble = "unread"       // our answers to its frames are not read (CVE-2019-9512, CVE-2019-9515)
	TroubleSlow         Trouble = "slow"         // a frame, or what we send, takes too long
)

// Allowances. A peer at work earns what it spends: these bound what it can have
// done for nothing.
const (
	// noiseBudget is how many frames may come that bring nothing forward. A
	// stream that is opened, and data in either direction, earn some back, and so
	// does time.
	noiseBudget    = 2000
	noisePerSecond = 200
	noiseOfStream  = 16
	noiseOfFrame   = 4   // of a frame with data, ours or theirs,
	noiseOfData    = 512 // and bytes in it that earn one more
	// resetBudget is how many streams may be reset before they were answered. One
	// that is answered earns one back: a client that gives up half of what it
	// asks for has nothing to fear.
	resetBudget    = 4 // times the streams that may be open: all of them may be given up together
	resetPerSecond = 100
	// maxAnswers is how many of our answers to the peer's frames (acknowledgments
	// of PING and SETTINGS, RST_STREAM) may wait for the socket.
	maxAnswers = 1000
)

// budget is an allowance that time fills up.
type budget struct {
	left   int
	most   int
	second int
	last   time.Time
}

func newBudget(most, second int, now time.Time) budget {
	return budget{left: most, most: most, second: second, last: now}
}

// spend takes n, and reports whether there was as much. The clock is looked at
// only where it is needed.
func (b *budget) spend(n int) bool {
	if b.left -= n; b.left >= 0 {
		return true
	}
	now := time.Now()
	b.earn(int(now.Sub(b.last).Seconds() * float64(b.second)))
	b.last = now
	return b.left >= 0
}

func (b *budget) earn(n int) { b.left = min(b.left+n, b.most) }

// noise counts a frame that brings nothing forward. mu is held.
func (c *Conn) noise() error {
	if c.noises.spend(1) {
		return nil
	}
	c.o.Trouble(TroubleFlood)
	return fatal(http2.ErrCodeEnhanceYourCalm, "too many frames that are of no use")
}

// gaveUp counts a stream that the peer has reset before it was answered. mu is
// held.
func (c *Conn) gaveUp() error {
	if c.resets.spend(1) {
		return nil
	}
	c.o.Trouble(TroubleRapidReset)
	return fatal(http2.ErrCodeEnhanceYourCalm, "too many streams were opened only to be reset")
}

// answered counts an answer to a frame that waits for the socket. mu is held.
func (c *Conn) answered() error {
	c.answers++
	if c.answers <= maxAnswers {
		return nil
	}
	c.o.Trouble(TroubleUnread)
	return fatal(http2.ErrCodeEnhanceYourCalm, "the answers to your frames are not read")
}
