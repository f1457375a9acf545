package balance

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// hash is that of the first key of the request that there is. An empty value is
// none: it would send everybody without one to the same endpoint.
func (h *Hash) hash(r *middleware.Request) (uint64, bool) {
	for i := range h.Keys {
		k := &h.Keys[i]
		switch {
		case k.Header != "":
			if v := r.Header.Get(k.Header); len(v) > 0 {
				return xxhash.Sum64(v), true
			}
		case k.Cookie != "":
			if v := cookie(&r.Header, k.Cookie); len(v) > 0 {
				return xxhash.Sum64(v), true
			}
		case r.Peer.Addr.IsValid():
			// An IPv4 address is the same one on a socket of both families.
			b := r.Peer.Addr.Addr().As16()
			return xxhash.Sum64(b[:]), true
		}
	}
	return 0, false
}

// cookie is the value of the first cookie of the name (RFC 6265, section 5.4);
// HTTP/2 may have split the field (RFC 9113, section 8.2.3). Names are
// case-sensitive.
func cookie(h *middleware.Header, name string) []byte {
	for i := range h.Len() {
		f := h.At(i)
		if !middleware.EqualFold(f.Name, "cookie") {
			continue
		}
		for rest := f.Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			k, v, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
			if ok && string(k) == name {
				return v
			}
		}
	}
	return nil
}
