package upstream

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Health is how the endpoints of a cluster are checked. Exactly one of HTTP, TCP
// and GRPC says what is asked.
type Health struct {
	HTTP *HTTPCheck `yaml:"http"`
	TCP  *TCPCheck  `yaml:"tcp"`
	GRPC *GRPCCheck `yaml:"grpc"`

	Interval time.Duration // between the end of a check and the next
	// NoTrafficInterval holds instead while no request has come to the cluster
	// since the last check.
	NoTrafficInterval time.Duration
	Timeout           time.Duration // of one check
	Jitter            time.Duration // up to which a pause is longer
	JitterPercent     int           // likewise, of the interval
	InitialJitter     time.Duration // up to which the first check waits
	HealthyAfter      int           // good checks in a row
	UnhealthyAfter    int           // bad checks in a row; the first check of all counts at once
}

// DefaultHealth is what holds for the keys that are left out.
func DefaultHealth() Health {
	return Health{
		Interval: 5 * time.Second, NoTrafficInterval: time.Minute, Timeout: time.Second,
		JitterPercent: 10, InitialJitter: 100 * time.Millisecond, HealthyAfter: 2, UnhealthyAfter: 3,
	}
}

// SetDefaults is DefaultHealth.
func (h *Health) SetDefaults() { *h = DefaultHealth() }

// Validate says what is out of range.
func (h *Health) Validate() error {
	var errs []error
	kinds := 0
	for _, given := range []bool{h.HTTP != nil, h.TCP != nil, h.GRPC != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		errs = append(errs, conf.FieldError("", "expected one of http: /healthz, tcp: {} and grpc: {}"))
	}
	return errors.Join(append(
		errs,
		within("interval", h.Interval, 10*time.Millisecond, day, false),
		within("noTrafficInterval", h.NoTrafficInterval, 10*time.Millisecond, day, false),
		within("timeout", h.Timeout, time.Millisecond, time.Minute, false),
		within("jitter", h.Jitter, time.Millisecond, time.Hour, true),
		bounded("jitterPercent", h.JitterPercent, 0, 100),
		within("initialJitter", h.InitialJitter, time.Millisecond, time.Hour, true),
		bounded("healthyAfter", h.HealthyAfter, 1, 1000),
		bounded("unhealthyAfter", h.UnhealthyAfter, 1, 1000),
	)...)
}

// HTTPCheck asks over HTTP.
type HTTPCheck struct {
	// Protocol is http or http2; empty: what the cluster is declared to speak,
	// http where nothing is.
	Protocol registry.Protocol
	Path     string // with the query, if any
	Host     string // empty: the endpoint's address
	Method   string
	Statuses []StatusRange // that are good
	// StrictStatus has an unexpected status make the endpoint unhealthy at
	// once, whatever UnhealthyAfter says: Envoy's way.
	StrictStatus bool `yaml:"-"`
}

// SetDefaults is the defaults of an HTTPCheck.
func (c *HTTPCheck) SetDefaults() {
	*c = HTTPCheck{Path: "/", Method: "GET", Statuses: []StatusRange{{200, 399}}}
}

// UnmarshalConf reads the path alone, or a map.
func (c *HTTPCheck) UnmarshalConf(n conf.Node) error {
	if n.Kind() != conf.Map {
		return n.Decode(&c.Path)
	}
	type plain HTTPCheck // without this method
	return n.Decode((*plain)(c))
}

// Validate says what cannot be asked.
func (c *HTTPCheck) Validate() error {
	var errs []error
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, unsafe) {
		errs = append(errs, conf.FieldErrorf("path", "%q is not a path such as /healthz", c.Path))
	}
	if strings.ContainsFunc(c.Host, func(r rune) bool { return unsafe(r) || r == '/' }) {
		errs = append(errs, conf.FieldErrorf("host", "%q is not the name of a host", c.Host))
	}
	if !middleware.ValidName(c.Method) || c.Method == "CONNECT" {
		errs = append(errs, conf.FieldErrorf("method", "%q is not a method that can be used", c.Method))
	}
	switch c.Protocol {
	case registry.ProtocolUndeclared, registry.ProtocolHTTP, registry.ProtocolHTTP2:
	default:
		errs = append(errs, conf.FieldErrorf("protocol", "expected http or http2, found %q", string(c.Protocol)))
	}
	if len(c.Statuses) == 0 {
		errs = append(errs, conf.FieldError("statuses", "at least one is needed, such as statuses: [2xx]"))
	}
	return errors.Join(errs...)
}

// unsafe reports a character that must not stand in the head of a request.
func unsafe(r rune) bool { return r <= ' ' || r >= 0x7f }

// expects reports whether a status is a good one.
func (c *HTTPCheck) expects(status int) bool {
	for _, r := range c.Statuses {
		if status >= r.From && status <= r.To {
			return true
		}
	}
	return false
}

// StatusRange is statuses from one to another, both included; written as 204,
// 2xx or 200-399.
type StatusRange struct{ From, To int }

// UnmarshalText reads any of the forms.
func (r *StatusRange) UnmarshalText(text []byte) error { return r.parse(string(text)) }

func (r *StatusRange) parse(text string) error {
	bad := fmt.Errorf("expected a status such as 204, 2xx or 200-399, found %q", text)
	from, to, isRange := strings.Cut(text, "-")
	if class, ok := strings.CutSuffix(text, "xx"); ok {
		from, to, isRange = class+"00", class+"99", true
	}
	if !isRange {
		to = from
	}
	var err error
	if r.From, err = strconv.Atoi(from); err != nil {
		return bad
	}
	if r.To, err = strconv.Atoi(to); err != nil {
		return bad
	}
	if r.From < 200 || r.To > 599 || r.From > r.To {
		return bad
	}
	return nil
}

// MarshalText is the range as it is written.
func (r StatusRange) MarshalText() ([]byte, error) {
	if r.From == r.To {
		return strconv.AppendInt(nil, int64(r.From), 10), nil
	}
	return fmt.Appendf(nil, "%d-%d", r.From, r.To), nil
}

// TCPCheck connects and hangs up.
type TCPCheck struct{}

// GRPCCheck asks the gRPC health service (grpc.health.v1.Health/Check).
type GRPCCheck struct {
	Service   string // empty: the server as a whole
	Authority string // empty: the cluster's name
}

// Validate says what cannot be asked.
func (c *GRPCCheck) Validate() error {
	if strings.ContainsFunc(c.Authority, func(r rune) bool { return unsafe(r) || r == '/' }) {
		return conf.FieldErrorf("authority", "%q is not the name of a host", c.Authority)
	}
	return nil
}
