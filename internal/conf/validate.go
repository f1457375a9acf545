package conf

import (
	"errors"
	"reflect"
)

// validator is a value that checks itself.
type validator interface{ Validate() error }

// validate calls v's Validate method, if it has one, and places what it
// returns. ok says whether v was decoded without a mistake. If not, v is in
// part not what the file says, and only complaints about fields that the file
// does give, and gives well, are kept: the others may be consequences.
func (d *decoder) validate(n *node, v reflect.Value, ok bool) bool {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface || !v.CanAddr() {
		return true // what it points to was validated
	}
	val, isValidator := v.Addr().Interface().(validator)
	if !isValidator {
		return true
	}
	err := val.Validate()
	if err == nil {
		return true
	}
	var keep func(found *node, exact bool) bool
	if !ok {
		keep = func(found *node, exact bool) bool { return exact && found != n && !d.bad[found] }
	}
	d.place(n, err, keep)
	return false
}

// defaults validates a struct that the file does not mention: its own defaults
// may need something of the user. Its mistakes are placed at n, where it
// would stand.
func (d *decoder) defaults(n *node, f structField, v reflect.Value) bool {
	for i, x := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return true
			}
			v = v.Elem()
		}
		v = v.Field(x)
		if i == len(f.index)-1 && v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
	}
	if v.Kind() != reflect.Struct || v.Type() == nodeType {
		return true
	}
	// A stand-in without children: nothing in it is found, so that every
	// mistake climbs to n.
	absent := &node{kind: Null, pos: n.pos, parent: n, step: keyStep(f.name)}
	return d.value(absent, v)
}

// place notes an error of a Validate or UnmarshalConf method at n. keep, if
// given, decides by the node that a FieldError leads to.
func (d *decoder) place(n *node, err error, keep func(found *node, exact bool) bool) {
	var field *fieldError
	var multi interface{ Unwrap() []error }
	var one *Error
	switch {
	case isA(err, &field):
		found, exact := n.resolve(field.path)
		if keep == nil || keep(found, exact) {
			d.bad[n] = true
			if exact {
				d.note(found, found.pos, "", field.msg)
			} else {
				d.bad[found] = true
				d.note(n, found.pos, field.path, field.msg)
			}
		}
	case isA(err, &one) && one.Pos == (Pos{}):
		d.note(n, n.pos, "", one.Msg)
	case isA(err, &one):
		d.bad[n] = true
		d.errs = append(d.errs, one)
	case isA(err, &multi):
		for _, e := range multi.Unwrap() {
			d.place(n, e, keep)
		}
	case errors.As(err, &one): // context around placed errors
		d.bad[n] = true
		d.errs = appendFlat(d.errs, err)
	default:
		if keep == nil || keep(n, true) {
			d.note(n, n.pos, "", err.Error())
		}
	}
}

// isA is errors.As without looking inside of err: each layer is handled as
// what it is.
func isA[T any](err error, target *T) bool {
	t, ok := err.(T)
	if ok {
		*target = t
	}
	return ok
}
