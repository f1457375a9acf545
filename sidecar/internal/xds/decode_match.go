package xds

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

var (
	matchFields  = allow("prefix path safe_regex path_separated_prefix case_sensitive headers query_parameters", "")
	headerFields = allow(`name exact_match safe_regex_match present_match prefix_match suffix_match contains_match
		string_match invert_match`, "")
	queryFields  = allow("name string_match present_match", "")
	stringFields = allow("exact prefix suffix safe_regex contains ignore_case", "")
)

// maxPattern bounds a regular expression from the control plane, in bytes.
const maxPattern = 4 << 10

func decodeMatch(p *problems, at string, m *routev3.RouteMatch) route.Match {
	p.check(at, m, matchFields)
	var out route.Match
	decodePath(p, at, m, &out)
	for i, h := range m.GetHeaders() {
		decodeHeader(p, fmt.Sprintf("%s.headers[%d]", at, i), h, &out)
	}
	for i, q := range m.GetQueryParameters() {
		at := fmt.Sprintf("%s.query_parameters[%d]", at, i)
		p.check(at, q, queryFields)
		v := route.ValueMatch{Name: q.GetName(), Present: true}
		if s := q.GetStringMatch(); s != nil {
			v = decodeValue(p, at, q.GetName(), s)
		} else if _, ok := q.GetQueryParameterMatchSpecifier().(*routev3.QueryParameterMatcher_PresentMatch); ok {
			v.Invert = !q.GetPresentMatch()
		}
		out.Query = append(out.Query, v)
	}
	return out
}

// decodePath carries Envoy's prefix, which is one of bytes (/a matches /ab),
// as a regular expression, and so whatever is to be compared in any case.
func decodePath(p *problems, at string, m *routev3.RouteMatch, out *route.Match) {
	anyCase := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	pattern := func(text string) {
		out.PathKind, out.Regexp = route.PathRegexp, compile(p, at, text, anyCase)
	}
	var path string
	switch s := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if path = s.Prefix; path == "" || path == "/" {
			out.PathKind, out.Path = route.PathPrefix, "/"
		} else {
			pattern(regexp.QuoteMeta(path) + "(?s:.*)")
		}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		if path = s.PathSeparatedPrefix; anyCase {
			pattern(regexp.QuoteMeta(path) + "(?s:/.*)?")
		} else {
			out.PathKind, out.Path = route.PathPrefix, path
		}
	case *routev3.RouteMatch_Path:
		if path = s.Path; anyCase {
			pattern(regexp.QuoteMeta(path))
		} else {
			out.PathKind, out.Path = route.PathExact, path
		}
		if path == "" {
			p.addf(at, "path is empty")
		}
	case *routev3.RouteMatch_SafeRegex:
		anyCase = false // which is for the other forms
		pattern(s.SafeRegex.GetRegex())
	case nil:
		p.addf(at, "has no path")
	}
	if path != "" && path[0] != '/' {
		p.addf(at, "path %q does not begin with /", path)
	}
	if strings.ContainsAny(path, "?#") {
		p.addf(at, "path %q holds a query or a fragment, which a path never does", path)
	}
}

func decodeHeader(p *problems, at string, h *routev3.HeaderMatcher, out *route.Match) {
	p.check(at, h, headerFields)
	v := route.ValueMatch{Name: h.GetName(), Present: true}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		v = decodeValue(p, at, v.Name, s.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch:
		v = literal(p, at, v.Name, "", s.ExactMatch, "", false) //nolint:staticcheck // older servers send this form
	case *routev3.HeaderMatcher_PrefixMatch:
		v = literal(p, at, v.Name, "", s.PrefixMatch, "(?s:.*)", false) //nolint:staticcheck // older servers send this form
	case *routev3.HeaderMatcher_SuffixMatch:
		v = literal(p, at, v.Name, "(?s:.*)", s.SuffixMatch, "", false) //nolint:staticcheck // older servers send this form
	case *routev3.HeaderMatcher_ContainsMatch:
		v = literal(p, at, v.Name, "(?s:.*)", s.ContainsMatch, "(?s:.*)", false) //nolint:staticcheck // older servers send this form
	case *routev3.HeaderMatcher_SafeRegexMatch:
		v = route.ValueMatch{Name: v.Name, Regexp: compile(p, at, s.SafeRegexMatch.GetRegex(), false)} //nolint:staticcheck // older servers send this form
	case *routev3.HeaderMatcher_PresentMatch:
		v.Invert = !s.PresentMatch
	}
	if strings.HasPrefix(v.Name, ":") {
		if v.Name != ":method" || v.Exact == "" || h.GetInvertMatch() || out.Method != "" {
			p.addf(at, "%s can only be matched as :method with one exact value", v.Name)
		}
		out.Method = v.Exact
		return
	}
	if h.GetInvertMatch() {
		v.Invert = !v.Invert
		// Envoy and gRPC agree that a field which is absent matches no value,
		// inverted or not.
		if !v.Present {
			out.Headers = append(out.Headers, route.ValueMatch{Name: v.Name, Present: true})
		}
	}
	out.Headers = append(out.Headers, v)
}

// decodeValue carries what is not an exact match as a regular expression.
func decodeValue(p *problems, at, name string, s *matcherv3.StringMatcher) route.ValueMatch {
	p.check(at, s, stringFields)
	const rest = "(?s:.*)"
	switch m := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return literal(p, at, name, "", m.Exact, "", s.GetIgnoreCase())
	case *matcherv3.StringMatcher_Prefix:
		return literal(p, at, name, "", m.Prefix, rest, s.GetIgnoreCase())
	case *matcherv3.StringMatcher_Suffix:
		return literal(p, at, name, rest, m.Suffix, "", s.GetIgnoreCase())
	case *matcherv3.StringMatcher_Contains:
		return literal(p, at, name, rest, m.Contains, rest, s.GetIgnoreCase())
	case *matcherv3.StringMatcher_SafeRegex:
		return route.ValueMatch{Name: name, Regexp: compile(p, at, m.SafeRegex.GetRegex(), false)}
	case nil:
		p.addf(at, "has no pattern")
	}
	return route.ValueMatch{Name: name}
}

// literal matches text between two patterns.
func literal(p *problems, at, name, before, text, after string, anyCase bool) route.ValueMatch {
	if before+after == "" && text != "" && !anyCase {
		return route.ValueMatch{Name: name, Exact: text}
	}
	return route.ValueMatch{Name: name, Regexp: compile(p, at, before+regexp.QuoteMeta(text)+after, anyCase)}
}

// compile makes a pattern that matches the whole of a value.
func compile(p *problems, at, pattern string, anyCase bool) *regexp.Regexp {
	if len(pattern) > maxPattern {
		p.addf(at, "a regular expression of %d bytes is longer than %d", len(pattern), maxPattern)
		return nil
	}
	// By itself first: wrapped, a stray parenthesis could pass.
	if _, err := regexp.Compile(pattern); err != nil {
		p.addf(at, "%v", err)
		return nil
	}
	flags := ""
	if anyCase {
		flags = "i"
	}
	re, err := regexp.Compile("^(?" + flags + ":" + pattern + ")$")
	if err != nil {
		p.addf(at, "%v", err)
	}
	return re
}
