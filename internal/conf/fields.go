package conf

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// structInfo is what the decoder knows of a struct type.
type structInfo struct {
	fields []structField // in the type's order
	names  []string      // sorted
	byName map[string]int
}

type structField struct {
	name  string
	index []int // for reflect.Value.FieldByIndex, through inlined structs
}

var structInfos sync.Map // reflect.Type -> *structInfo

func infoOf(t reflect.Type) *structInfo {
	if info, ok := structInfos.Load(t); ok {
		return info.(*structInfo)
	}
	info := &structInfo{byName: map[string]int{}}
	info.add(t, nil)
	for _, f := range info.fields {
		info.names = append(info.names, f.name)
	}
	slices.Sort(info.names)
	stored, _ := structInfos.LoadOrStore(t, info)
	return stored.(*structInfo)
}

// add takes the fields of t, those of inlined structs included. As in Go, a
// field hides those of the same name in embedded structs.
func (s *structInfo) add(t reflect.Type, base []int) {
	var inlined []int
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline := keyOf(f)
		if inline {
			inlined = append(inlined, i)
			continue
		}
		if name == "" || !f.IsExported() {
			continue
		}
		if _, ok := s.byName[name]; !ok {
			s.byName[name] = len(s.fields)
			s.fields = append(s.fields, structField{name: name, index: append(slices.Clone(base), i)})
		}
	}
	for _, i := range inlined {
		ft := t.Field(i).Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		s.add(ft, append(slices.Clone(base), i))
	}
}

// keyOf is a field's key: the name in its yaml tag, else in its json tag, else
// its Go name in lower camel case; empty if it has none. Embedded structs
// without a name and those tagged inline have their fields on this level.
func keyOf(f reflect.StructField) (name string, inline bool) {
	tag, ok := f.Tag.Lookup("yaml")
	if !ok {
		tag = f.Tag.Get("json")
	}
	if tag == "-" {
		return "", false
	}
	name, options, _ := strings.Cut(tag, ",")
	ft := f.Type
	if ft.Kind() == reflect.Pointer {
		ft = ft.Elem()
	}
	if ft.Kind() == reflect.Struct && name == "" && f.IsExported() &&
		(f.Anonymous || slices.Contains(strings.Split(options, ","), "inline")) {
		return "", true
	}
	if name == "" {
		name = lowerCamel(f.Name)
	}
	return name, false
}

// lowerCamel turns CAFile into caFile, XDS into xds and TTL into ttl.
func lowerCamel(s string) string {
	r := []rune(s)
	for i := range r {
		if i > 0 && i+1 < len(r) && unicode.IsLower(r[i+1]) {
			break // the first letter of the next word
		}
		if !unicode.IsUpper(r[i]) {
			break
		}
		r[i] = unicode.ToLower(r[i])
	}
	return string(r)
}
