package h2wire

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// Block is a list of header fields that is sent again and again on one
// connection, as it is encoded (RFC 7541): the first time in full, which puts
// the fields into the dynamic table, and as their indexes from then on.
type Block struct {
	next, again []byte
}

// Blocks encodes the lists of a connection, each of which is pairs of names and
// values, for a peer that gives table bytes to the dynamic table. All of them
// are to be sent once, in their order, before any is sent again: the indexes are
// those that hold then.
func Blocks(table uint32, lists ...[]string) []*Block {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	enc.SetMaxDynamicTableSizeLimit(table)
	encode := func(fields []string) []byte {
		buf.Reset()
		for i := 0; i+1 < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // a buffer takes all
		}
		return bytes.Clone(buf.Bytes())
	}
	all := make([]*Block, len(lists))
	for i, fields := range lists {
		all[i] = &Block{next: encode(fields)}
	}
	for i, fields := range lists {
		all[i].again = encode(fields)
	}
	return all
}

// Take is the bytes to send now.
func (b *Block) Take() []byte {
	now := b.next
	b.next = b.again
	return now
}
