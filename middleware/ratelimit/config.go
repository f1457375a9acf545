package ratelimit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a ratelimit entry.
type Config struct {
	Rate  Rate
	Burst int64 // the size of a bucket, in requests; 0: what Rate gives in a second, 1 at least
	Key   Key
	// MaxKeys bounds the buckets, where there is one for each key.
	MaxKeys int
	Headers Headers
}

// Headers says which responses have the RateLimit fields.
type Headers string

// The choices of Headers.
const (
	Refused Headers = "refused" // those with 429
	Always  Headers = "always"  // all
	Never   Headers = "never"   // none
)

var headers = []Headers{Refused, Always, Never}

const mostKeys = 1 << 20

func defaults() Config {
	return Config{Rate: Rate{Count: 1000, Per: time.Second}, Key: Key{By: ByNone}, MaxKeys: 16384, Headers: Refused}
}

// Validate says what is out of range.
func (c *Config) Validate() error {
	var errs []error
	if c.Burst < 0 || c.Burst > MaxCount {
		errs = append(errs, middleware.FieldError("burst", fmt.Sprintf("expected 0 to %d, found %d", MaxCount, c.Burst)))
	}
	if over := int64(1<<62) / c.Rate.cost(); c.burst() > over {
		errs = append(errs, middleware.FieldError("burst", fmt.Sprintf("%d requests at %s take more than a hundred years: expected %d at most", c.Burst, c.Rate, over)))
	}
	if c.MaxKeys < 1 || c.MaxKeys > mostKeys {
		errs = append(errs, middleware.FieldError("maxKeys", fmt.Sprintf("expected 1 to %d, found %d", mostKeys, c.MaxKeys)))
	}
	if !slices.Contains(headers, c.Headers) {
		errs = append(errs, middleware.FieldError("headers", fmt.Sprintf("expected refused, always or never, found %q", c.Headers)))
	}
	return errors.Join(errs...)
}

// burst is the size of a bucket.
func (c *Config) burst() int64 {
	if c.Burst > 0 {
		return c.Burst
	}
	return max(1, c.Rate.Count/int64(c.Rate.Per/time.Second))
}

// Key says which requests share a bucket.
type Key struct {
	By     By
	Header string // of ByHeader: the field's name, in lower case
}

// By is a kind of key.
type By string

// The kinds of key.
const (
	ByNone   By = "none"   // all requests share one
	BySource By = "source" // by the address of the client's connection
	ByPath   By = "path"   // by the path, without the query
	ByHeader By = "header" // by the value of a field
)

// UnmarshalConf reads one of the words none, source and path, or
// {header: name}.
func (k *Key) UnmarshalConf(n conf.Node) error {
	if n.Kind() != conf.Map {
		by := By(n.Text())
		if n.Kind() != conf.String || by != ByNone && by != BySource && by != ByPath {
			return n.Errorf("%s: expected none, source, path or {header: name}", n.Path())
		}
		*k = Key{By: by}
		return nil
	}
	var by struct{ Header string }
	if err := n.Decode(&by); err != nil {
		return err
	}
	if !middleware.ValidName(by.Header) {
		return n.Errorf("%s.header: expected the name of a field, found %q", n.Path(), by.Header)
	}
	*k = Key{By: ByHeader, Header: strings.ToLower(by.Header)}
	return nil
}

// MarshalText is the key in one word, for dumps and for the name of the state
// that it decides about.
func (k Key) MarshalText() ([]byte, error) {
	if k.By == ByHeader {
		return []byte("header:" + k.Header), nil
	}
	return []byte(k.By), nil
}
