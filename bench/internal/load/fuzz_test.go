package load

import "testing"

// feedAll hands over bytes in pieces of n, as a connection that waits for one
// response of 2 bytes.
func feedAll(data []byte, n int) (responses int, err error) {
	c := http1{waiting: true}
	for len(data) > 0 {
		piece := data[:min(n, len(data))]
		data = data[len(piece):]
		done, err := c.feed(piece, 2)
		if err != nil {
			return responses, err
		}
		if done {
			responses++
		}
	}
	return responses, nil
}

// What comes of a response does not depend on the pieces it comes in.
func FuzzResponseInPieces(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
		"HTTP/1.1 503 Busy\r\nX: y\r\ncontent-length:0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 2",
		"\r\n\r\n",
		"",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		if len(data) > maxHead/8 {
			return // in pieces, a head is refused when it is too long; and it takes its time
		}
		whole, wholeErr := feedAll(data, max(1, len(data)))
		pieces, piecesErr := feedAll(data, max(1, int(size)))
		if (wholeErr == nil) != (piecesErr == nil) || wholeErr == nil && whole != pieces {
			t.Errorf("%q: %d, %v at once; %d, %v in pieces of %d", data, whole, wholeErr, pieces, piecesErr, size)
		}
	})
}
