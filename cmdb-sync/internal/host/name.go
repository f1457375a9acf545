package host

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// maxName is the longest name of an object (RFC 1123 subdomain, as in
// Kubernetes).
const maxName = 253

var subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

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

func isName(name string) bool { return len(name) <= maxName && subdomain.MatchString(name) }
