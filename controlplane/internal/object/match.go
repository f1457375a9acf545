package object

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/outrigger-mesh/outrigger/registry"
)

// methods are those that the Gateway API lets a route match.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

func (c *converter) match(at string, in *gateway.HTTPRouteMatch) Match {
	m := Match{PathKind: PathPrefix, Path: "/", Method: text(in.Method, "")}
	if p := in.Path; p != nil {
		m.PathKind, m.Path = PathKind(text(p.Type, string(PathPrefix))), text(p.Value, "/")
		c.path(at+".path", &m)
	}
	if in.Method != nil && !slices.Contains(methods, m.Method) {
		c.add(at+".method", "%q is none of %s", m.Method, strings.Join(methods, ", "))
	}
	seen := map[string]int{}
	for i, h := range in.Headers {
		at := fmt.Sprintf("%s.headers[%d]", at, i)
		v := c.value(at, strings.ToLower(string(h.Name)), text(h.Type, exact), h.Value)
		if first, ok := seen[v.Name]; ok {
			c.add(at+".name", "%q is matched by headers[%d] already", h.Name, first)
		}
		seen[v.Name] = i
		m.Headers = append(m.Headers, v)
	}
	clear(seen)
	for i, q := range in.QueryParams {
		at := fmt.Sprintf("%s.queryParams[%d]", at, i)
		v := c.value(at, string(q.Name), text(q.Type, exact), q.Value)
		if first, ok := seen[v.Name]; ok {
			c.add(at+".name", "%q is matched by queryParams[%d] already", q.Name, first)
		}
		seen[v.Name] = i
		m.Query = append(m.Query, v)
	}
	return m
}

// badInPath is what the Gateway API does not let stand in an exact path or a
// prefix: a normalized request path never has it.
var badInPath = []string{"//", "/./", "/../", "%2f", "%2F", "#", "?"}

func (c *converter) path(at string, m *Match) {
	switch m.PathKind {
	case PathRegularExpression:
		if err := checkRegexp(m.Path); err != nil {
			c.add(at+".value", "%v", err)
		}
		return
	case PathExact, PathPrefix:
	default:
		c.add(at+".type", "%q is none of %s, %s and %s", m.PathKind, PathExact, PathPrefix, PathRegularExpression)
		return
	}
	if !strings.HasPrefix(m.Path, "/") {
		c.add(at+".value", "%q must begin with /", m.Path)
	}
	for _, bad := range badInPath {
		if strings.Contains(m.Path, bad) {
			c.add(at+".value", "%q must not contain %s", m.Path, bad)
		}
	}
	if strings.HasSuffix(m.Path, "/.") || strings.HasSuffix(m.Path, "/..") {
		c.add(at+".value", "%q must not end in /. or /..", m.Path)
	}
	if m.PathKind == PathPrefix && m.Path != "/" {
		m.Path = strings.TrimSuffix(m.Path, "/") // a prefix is of whole segments
	}
}

// exact and regularExpression are the kinds of value match.
const (
	exact             = "Exact"
	regularExpression = "RegularExpression"
)

func (c *converter) value(at, name, kind, value string) ValueMatch {
	v := ValueMatch{Name: name, Value: value, Regex: kind == regularExpression}
	if !isToken(name) {
		c.add(at+".name", "%q is no name: letters, digits and !#$%%&'*+-.^_`|~", name)
	}
	switch kind {
	case exact:
		if value == "" {
			c.add(at+".value", "must not be empty")
		}
	case regularExpression:
		if err := checkRegexp(value); err != nil {
			c.add(at+".value", "%v", err)
		}
	default:
		c.add(at+".type", "%q is neither %s nor %s", kind, exact, regularExpression)
	}
	return v
}

func checkRegexp(s string) error {
	if s == "" {
		return fmt.Errorf("must not be empty")
	}
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("%q is no RE2 expression: %w", s, err)
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// ServicePort is where a backend's requests go, in the name that it has over
// xDS.
func (b Backend) ServicePort() string { return b.Service.PortName(b.Port) }

// Match reports whether the parent is that service port.
func (p Parent) Match(name registry.ServiceName, port registry.Port) bool {
	return p.Kind == ParentService && p.Namespace == name.Namespace && p.Name == name.Name &&
		(p.Port == 0 || p.Port == port.Number) && (p.PortName == "" || p.PortName == port.Name)
}
