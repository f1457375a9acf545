package middleware

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// appendUUID appends a new UUID of version 7 (RFC 9562, section 5.7): 48 bits of
// Unix time in milliseconds, then 74 random ones. The generator is the runtime's
// ChaCha8, one a thread and seeded by the system: it takes no lock and allocates
// nothing, which the library for it does.
func appendUUID(b []byte, now time.Time) []byte {
	var id [16]byte
	high, low := rand.Uint64(), rand.Uint64()                                          //nolint:gosec // unique, not secret
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|0x7000|high&0x0fff) //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(id[8:], 0b10<<62|low&(1<<62-1))
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}
