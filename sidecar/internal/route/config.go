package route

import (
	"regexp"
	"time"
)

// Config is one set of virtual hosts in plain Go: what static configuration
// and xDS (one RouteConfiguration) are both decoded to, and what Compile
// takes. It is not changed once it was handed on.
type Config struct {
	Name         string // the xDS name, such as users.default:80; for people and metrics
	VirtualHosts []VirtualHost
}

// VirtualHost is the routes of some domains.
type VirtualHost struct {
	Name string
	// Domains are matched against the authority's host in lower case, without
	// its port: an exact name, "*.suffix" or "*". Exact beats suffix, a longer
	// suffix a shorter, "*" matches last; of Envoy's forms only the prefix
	// ("name.*") is missing.
	Domains []string
	Routes  []Route // in order: the first match wins
}

// Route is one rule of a virtual host.
type Route struct {
	Name     string // of the object and rule that it came from; for people and metrics
	Match    Match
	Clusters []WeightedCluster // exactly one of Clusters and Status is set
	Status   int               // answer with this status instead of forwarding
	Timeout  time.Duration     // of the whole request; zero sets none
}

// WeightedCluster is a share of a route's requests.
type WeightedCluster struct {
	Name   string
	Weight uint32 // relative to the sum of its siblings'; a sum of zero is an error
}

// PathKind is how Match.Path is compared.
type PathKind uint8

// The kinds of path match, as the Gateway API's HTTPPathMatch defines them. A
// prefix matches whole segments: /a matches /a and /a/b, not /ab.
const (
	PathPrefix PathKind = iota
	PathExact
	PathRegexp // of the whole path
)

// Match is the conditions of a route: all that are set must hold.
type Match struct {
	PathKind PathKind
	Path     string         // for PathPrefix and PathExact; never with a query
	Regexp   *regexp.Regexp // for PathRegexp; anchored at both ends
	Method   string
	Headers  []ValueMatch // names in any case; several fields of one name are joined by ","
	Query    []ValueMatch // names are case-sensitive; the first of several values counts
}

// ValueMatch matches a header field or query parameter by its value. With
// neither Exact nor Regexp set, Present says that any value will do.
type ValueMatch struct {
	Name    string
	Present bool
	Exact   string
	Regexp  *regexp.Regexp
	Invert  bool
}
