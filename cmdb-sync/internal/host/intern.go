package host

import (
	"slices"
	"strconv"
	"strings"
)

// Interner makes equal values one. Of a million machines, few labels and
// localities differ, and both sides of a difference are in memory at once.
// It is not safe for concurrent use. What it returns must not be changed.
type Interner struct {
	texts map[string]string
	maps  map[string]map[string]string
	buf   []byte
	keys  []string
}

// maxInterned bounds what is remembered: beyond it values are taken to be
// different from each other anyway.
const maxInterned = 1 << 16

// NewInterner makes an empty one.
func NewInterner() *Interner {
	return &Interner{texts: map[string]string{}, maps: map[string]map[string]string{}}
}

// Text is s, without the memory around it that s may be a part of.
func (in *Interner) Text(s string) string {
	if known, ok := in.texts[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(in.texts) < maxInterned {
		in.texts[s] = s
	}
	return s
}

// Map is a map equal to m, which may be m; nil where m is empty.
func (in *Interner) Map(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	in.keys = in.keys[:0]
	for k := range m {
		in.keys = append(in.keys, k)
	}
	slices.Sort(in.keys)
	in.buf = in.buf[:0]
	for _, k := range in.keys {
		for _, s := range [2]string{k, m[k]} {
			in.buf = strconv.AppendInt(in.buf, int64(len(s)), 10)
			in.buf = append(append(in.buf, ':'), s...)
		}
	}
	if known, ok := in.maps[string(in.buf)]; ok {
		return known
	}
	own := make(map[string]string, len(m))
	for k, v := range m {
		own[in.Text(k)] = in.Text(v)
	}
	if len(in.maps) < maxInterned {
		in.maps[string(in.buf)] = own
	}
	return own
}

// Object makes an object's labels, locality and source shared ones.
func (in *Interner) Object(o *Object) {
	o.APIVersion, o.Kind = APIVersion, KindName
	s := &o.Spec
	s.Network = in.Text(s.Network)
	s.Locality.Region, s.Locality.Zone, s.Locality.Subzone = in.Text(s.Locality.Region), in.Text(s.Locality.Zone), in.Text(s.Locality.Subzone)
	s.Labels = in.Map(s.Labels)
	s.Source.Name, s.Source.Run, s.Source.Time = in.Text(s.Source.Name), in.Text(s.Source.Run), in.Text(s.Source.Time)
	o.Metadata.Labels = in.Map(o.Metadata.Labels)
}
