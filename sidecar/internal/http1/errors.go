package http1

import "errors"

// Malformed is what is wrong with a message: one of a fixed list, so that it
// can be a label of a metric.
type Malformed string

// Error says what is wrong.
func (m Malformed) Error() string { return "malformed HTTP/1.1 message: " + string(m) }

// The ways in which a message can be wrong, with the rules that they break
// (RFC 9112 unless another is named).
const (
	BadLineEnd          Malformed = "line_end"          // 2.2: a CR or LF alone
	BadRequestLine      Malformed = "request_line"      // 3
	BadMethod           Malformed = "method"            // 3.1
	BadTarget           Malformed = "target"            // 3.2
	BadVersion          Malformed = "version"           // 2.3
	BadHost             Malformed = "host"              // 3.2: missing, several, or not a host
	BadFieldName        Malformed = "field_name"        // 5.1: also white space before the colon
	BadFieldValue       Malformed = "field_value"       // RFC 9110, 5.5
	BadFolding          Malformed = "obs_fold"          // 5.2
	BadContentLength    Malformed = "content_length"    // 6.2: not a number, or several
	BadLengthAndCoding  Malformed = "length_and_coding" // 6.1: Content-Length with Transfer-Encoding
	BadTransferEncoding Malformed = "transfer_encoding" // 6.1: anything but chunked, or with HTTP/1.0
	BadStatusLine       Malformed = "status_line"       // 4
	BadChunk            Malformed = "chunk"             // 7.1
	BadChunkExtension   Malformed = "chunk_extension"   // 7.1.1: none is understood
	BadTrailer          Malformed = "trailer"           // 7.1.2
	BadUpgrade          Malformed = "upgrade"           // RFC 9110, 7.8
	BadExpect           Malformed = "expect"            // RFC 9110, 10.1.1
)

// ErrHeadTooLarge is a head of more bytes or fields than the limit.
var ErrHeadTooLarge = errors.New("head larger than the limit")
