package conf

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// plainKind is what unquoted text is by the core schema of YAML 1.2.2,
// section 10.3.2. The parser's own idea is YAML 1.1's in part (0b1, 1_000).
func plainKind(s string) Kind {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return Null
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return Bool
	}
	switch digits := strings.TrimLeft(s, "+-"); {
	case len(s)-len(digits) > 1:
		return String
	case digits == ".inf" || digits == ".Inf" || digits == ".INF" || s == ".nan" || s == ".NaN" || s == ".NAN":
		return Float
	case isInt(digits):
		return Int
	case isFloat(digits):
		return Float
	}
	return String
}

func isInt(s string) bool {
	digits := "0123456789"
	switch {
	case strings.HasPrefix(s, "0x"):
		s, digits = s[2:], "0123456789abcdefABCDEF"
	case strings.HasPrefix(s, "0o"):
		s, digits = s[2:], "01234567"
	}
	return s != "" && strings.Trim(s, digits) == ""
}

// isFloat matches (\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
func isFloat(s string) bool {
	s, exp, hasExp := cutAny(s, "eE")
	if hasExp {
		exp = strings.TrimPrefix(strings.TrimPrefix(exp, "+"), "-")
		if exp == "" || strings.Trim(exp, "0123456789") != "" {
			return false
		}
	}
	whole, frac, _ := strings.Cut(s, ".")
	return whole+frac != "" && strings.Trim(whole+frac, "0123456789") == ""
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

var errLeadingZero = errors.New("has a leading zero, which some read as octal")

// parseInt reads a decimal, 0x or 0o integer.
func parseInt(s string) (int64, error) {
	digits := strings.TrimLeft(s, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] != 'x' && digits[1] != 'o' {
		return 0, errLeadingZero
	}
	return strconv.ParseInt(s, 0, 64)
}

func parseUint(s string) (uint64, error) {
	s = strings.TrimPrefix(s, "+")
	if _, err := parseInt(s); errors.Is(err, errLeadingZero) {
		return 0, err
	}
	return strconv.ParseUint(s, 0, 64)
}

var errNotFinite = errors.New("is not a finite number")

func parseFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.Replace(s, ".inf", "inf", 1), 64)
	if err == nil && (math.IsInf(f, 0) || math.IsNaN(f)) {
		return 0, errNotFinite
	}
	return f, err
}

// found is how a message calls what stands at n.
func (n *node) found() string {
	const most = 40
	text := n.text
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	switch n.kind {
	case String:
		return fmt.Sprintf("the string %q", text)
	case Int, Float:
		return "the number " + text
	case Bool:
		return "the boolean " + text
	case Map, List, Null, Absent:
	}
	return n.kind.String()
}

func (d *decoder) scalar(n *node, v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // the rest is refused below
	case reflect.String:
		return d.string(n, v)
	case reflect.Bool:
		if n.kind != Bool || n.text != "true" && n.text != "false" {
			return d.fail(n, "expected true or false, found %s", n.found())
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		lowest, highest := int64(-1)<<(v.Type().Bits()-1), int64(uint64(1)<<(v.Type().Bits()-1)-1)
		i, err := parseInt(n.text)
		if !d.integer(n, err, v.OverflowInt(i), lowest, highest) {
			return false
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		highest := ^uint64(0) >> (64 - v.Type().Bits())
		u, err := parseUint(n.text)
		if !d.integer(n, err, v.OverflowUint(u), uint64(0), highest) {
			return false
		}
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		f, err := parseFloat(n.text)
		if n.kind != Int && n.kind != Float {
			return d.fail(n, "expected a number, found %s", n.found())
		}
		if err != nil || v.OverflowFloat(f) {
			return d.fail(n, "expected a finite number, found %s", n.found())
		}
		v.SetFloat(f)
	default:
		return d.fail(n, "cannot be configured: the program holds a %s here", v.Type())
	}
	return true
}

func (d *decoder) string(n *node, v reflect.Value) bool {
	switch n.kind {
	case String:
		v.SetString(n.text)
		return true
	case Int, Float, Bool:
		return d.fail(n, "expected a string, found %s: quote it, as in %q", n.found(), n.text)
	case Map, List, Null, Absent:
	}
	return d.fail(n, "expected a string, found %s", n.found())
}

// integer reports whether n was read as an integer of the field's range.
func (d *decoder) integer(n *node, err error, overflow bool, lowest, highest any) bool {
	switch {
	case n.kind != Int:
		return d.fail(n, "expected an integer, found %s", n.found())
	case errors.Is(err, errLeadingZero):
		return d.fail(n, "%s %v: leave it out, or quote it if text is meant", n.found(), err)
	case err != nil || overflow:
		return d.fail(n, "expected an integer from %v to %v, found %s", lowest, highest, n.found())
	}
	return true
}

func (d *decoder) duration(n *node, v reflect.Value) bool {
	switch {
	case n.kind == Int && strings.Trim(n.text, "+0") == "":
		v.SetInt(0)
		return true
	case n.kind == Int || n.kind == Float:
		return d.fail(n, "expected a duration, found %s without a unit: write it as in %ss or %sms", n.found(), n.text, n.text)
	case n.kind != String:
		return d.fail(n, "expected a duration such as 800ms, 5s or 1m30s, found %s", n.found())
	}
	t, err := time.ParseDuration(n.text)
	switch {
	case err != nil:
		return d.fail(n, "expected a duration such as 800ms, 5s or 1m30s, found %s", n.found())
	case t < 0:
		return d.fail(n, "expected a duration that is not negative, found %s", n.found())
	}
	v.SetInt(int64(t))
	return true
}
