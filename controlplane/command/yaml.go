package command

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// toYAML writes JSON as YAML in block style, with the keys sorted: what is read
// here can be edited and applied again. A text is quoted, as JSON does it,
// unless nothing could be read into it.
func toYAML(out *bytes.Buffer, data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	writeYAML(out, v, 0, false)
	return nil
}

// writeYAML writes v, which begins at the end of a line (inline) or on one of
// its own.
func writeYAML(out *bytes.Buffer, v any, indent int, inline bool) {
	margin := strings.Repeat("  ", indent)
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out.WriteString(" {}\n")
			return
		}
		if inline {
			out.WriteByte('\n')
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out.WriteString(margin + yamlText(key) + ":")
			writeYAML(out, v[key], indent+1, true)
		}
	case []any:
		if len(v) == 0 {
			out.WriteString(" []\n")
			return
		}
		if inline {
			out.WriteByte('\n')
		}
		for _, item := range v {
			writeItem(out, item, indent)
		}
	default:
		out.WriteString(" " + yamlScalar(v) + "\n")
	}
}

// writeItem writes an item of a list, its first key behind the dash.
func writeItem(out *bytes.Buffer, item any, indent int) {
	margin := strings.Repeat("  ", indent)
	switch item := item.(type) {
	case map[string]any:
		if len(item) > 0 {
			var inner bytes.Buffer
			writeYAML(&inner, item, indent+1, false)
			out.WriteString(margin + "- ")
			out.Write(inner.Bytes()[len(margin)+2:])
			return
		}
	case []any:
		if len(item) > 0 {
			out.WriteString(margin + "-")
			writeYAML(out, item, indent+1, true)
			return
		}
	}
	out.WriteString(margin + "-")
	writeYAML(out, item, indent+1, true)
}

func yamlScalar(v any) string {
	switch v := v.(type) {
	case string:
		return yamlText(v)
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return "null"
}

// plainText is what is text in every version of YAML, and its words that are
// not.
var (
	plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)
	notText   = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n)$`)
)

func yamlText(s string) string {
	if plainText.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string has a form in JSON
	}
	return strings.TrimSuffix(quoted.String(), "\n")
}
