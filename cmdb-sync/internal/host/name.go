package host

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is the longest name of an object (RFC 1123 subdomain, as in
// Kubernetes).
const maxName = 253

// ObjectName is the name of the object of a source's machine: source-key where
// that can be a name, and otherwise what is left of it, with a hash of the key
// that keeps two keys from having one name.
func ObjectName(source, key string) string {
	name := source + "-" + key
	if isName(name) {
		return name
	}
	sum := sha256.Sum256([]byte(key))
	suffix := "-" + hex.EncodeToString(sum[:4])
	var b strings.Builder
	last := '-'
	for _, r := range strings.ToLower(name) {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			r = '-'
		}
		if r != '-' || last != '-' {
			b.WriteRune(r)
		}
		last = r
	}
	readable := b.String()
	readable = readable[:min(len(readable), maxName-len(suffix))]
	return strings.Trim(readable, "-") + suffix
}

// isName is RFC 1123's subdomain: labels of a-z, 0-9 and '-' with a letter or
// digit at both ends, joined by dots.
func isName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	last := byte('.')
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && last != '.':
		case c == '.' && last != '.' && last != '-':
		default:
			return false
		}
		last = c
	}
	return last != '.' && last != '-'
}
