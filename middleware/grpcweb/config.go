package grpcweb

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a grpcweb entry.
type Config struct {
	// AllowOrigins lists the origins whose pages may make calls, such as
	// https://app.example.com, or * for every origin. With none, nothing of CORS
	// is answered here: pages of the gateway's own origin need none of it.
	AllowOrigins []string
}

const anyOrigin = "*"

// Validate says what is no origin.
func (c *Config) Validate() error {
	var errs []error
	for i, o := range c.AllowOrigins {
		refuse := func(format string, args ...any) {
			errs = append(errs, middleware.FieldError(fmt.Sprintf("allowOrigins[%d]", i), fmt.Sprintf(format, args...)))
		}
		switch {
		case slices.Contains(c.AllowOrigins[:i], o):
			refuse("%q stands in the list twice", o)
		case o == anyOrigin && len(c.AllowOrigins) > 1:
			refuse("* allows every origin: give it alone")
		case o != anyOrigin && !isOrigin(o):
			refuse("%q is not an origin as browsers send it, such as https://app.example.com, nor *", o)
		}
	}
	return errors.Join(errs...)
}

// isOrigin reports whether s is written as a browser writes an origin (RFC 6454,
// section 6.2): scheme and host in lower case, a port only where it is not the
// scheme's own.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return false
	}
	if p := u.Port(); p == "80" && u.Scheme == "http" || p == "443" && u.Scheme == "https" {
		return false
	}
	return s == u.Scheme+"://"+u.Host && s == strings.ToLower(s) && !strings.HasSuffix(s, ":")
}
