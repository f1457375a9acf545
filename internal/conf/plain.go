package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"time"
)

// Plain is a Go value in the terms of its file: structs as maps with their
// keys, durations and other values that have a text form as text. It is for
// dumps of an effective configuration; fields that hold nothing are left out.
// A TextMarshaler's error stands in its place: a dump is for people.
func Plain(v any) any { return plain(reflect.ValueOf(v)) }

func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case Node:
		return x.Value()
	case time.Duration:
		return x.String()
	case encoding.TextMarshaler:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return nil
		}
		text, err := x.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	switch v.Kind() { //nolint:exhaustive // the rest is plain already
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		m := map[string]any{}
		for _, f := range infoOf(v.Type()).fields {
			field, err := v.FieldByIndexErr(f.index)
			if err != nil || field.IsZero() {
				continue
			}
			m[f.name] = plain(field)
		}
		return m
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for iter := v.MapRange(); iter.Next(); {
			m[fmt.Sprint(plain(iter.Key()))] = plain(iter.Value())
		}
		return m
	case reflect.Slice, reflect.Array:
		l := make([]any, v.Len())
		for i := range l {
			l[i] = plain(v.Index(i))
		}
		return l
	}
	return v.Interface()
}
