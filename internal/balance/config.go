package balance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
)

// Policy says how an endpoint is chosen among those of one priority.
type Policy string

// The policies.
const (
	PolicyRoundRobin     Policy = "round_robin"     // in turn
	PolicyRandom         Policy = "random"          // by chance
	PolicyLeastRequest   Policy = "least_request"   // of two by chance, the one with fewer requests under way
	PolicyPeakEWMA       Policy = "peak_ewma"       // of two by chance, the one that is likely to answer sooner
	PolicyConsistentHash Policy = "consistent_hash" // the same key to the same endpoint
	PolicyGoMicro        Policy = "go_micro"        // as a strategy of Go-Micro's selector says
)

var policies = []Policy{
	PolicyRoundRobin, PolicyRandom, PolicyLeastRequest, PolicyPeakEWMA, PolicyConsistentHash, PolicyGoMicro,
}

// Locality says what the places of endpoints mean.
type Locality string

// What localities mean.
const (
	LocalityIgnore Locality = "ignore" // nothing: priorities are what they were given
	LocalityPrefer Locality = "prefer" // within each priority: own zone, then own region, then the rest
)

// Config is how a cluster chooses endpoints. The zero value is not valid: begin
// with Defaults.
type Config struct {
	Policy       Policy
	LeastRequest LeastRequest
	PeakEWMA     PeakEWMA `yaml:"peakEwma"`
	Hash         Hash
	GoMicro      GoMicro
	SlowStart    SlowStart
	// PanicThreshold is the share of healthy endpoints of a priority, in
	// percent, below which healthy and unhealthy ones are taken alike, unless
	// other priorities make up for it; 0: never.
	PanicThreshold int
	// Overprovisioning is by how much a priority has more capacity than it
	// needs, in percent: at 140, five of seven healthy endpoints carry all.
	Overprovisioning int
	Locality         Locality
}

// LeastRequest is the settings of PolicyLeastRequest.
type LeastRequest struct {
	// Choices is how many endpoints are compared.
	Choices int
	// ActiveRequestBias is how much requests under way count against an endpoint's
	// weight, where weights differ; 0: not at all.
	ActiveRequestBias float64
}

// PeakEWMA is the settings of PolicyPeakEWMA.
type PeakEWMA struct {
	// Decay is the time in which what was seen of an endpoint's latency loses
	// all but 1/e of its weight.
	Decay time.Duration
}

// Hash is the settings of PolicyConsistentHash.
type Hash struct {
	// Keys are where a request's key is looked for, in order; one that has none
	// of them goes anywhere.
	Keys []HashKey
	// TableSize is the number of entries of the Maglev table, a prime.
	TableSize int
}

// HashKey is one place that a key can be in: exactly one field is set.
type HashKey struct {
	Header string // the value of the first field of that name
	Cookie string // the value of the first cookie of that name
	Source bool   // the address, without port, that the request came from
}

// GoMicro is the settings of PolicyGoMicro.
type GoMicro struct {
	Strategy string   // the name of a selector.Strategy
	Filters  []string // names of selector.Filters, in the order in which they are applied
}

// SlowStart gives endpoints that are new, or healthy again, fewer requests at
// first.
type SlowStart struct {
	// Window is how long an endpoint is new; 0: never.
	Window time.Duration
	// Aggression bends the way up: 1 is a straight line, more begins faster.
	Aggression float64
	// MinWeightPercent is what a new endpoint begins with, of its weight.
	MinWeightPercent int
}

// DefaultTableSize is the size of a Maglev table that the paper and Envoy use.
const DefaultTableSize = 65537

// Defaults are those of Envoy, where it has the same thing, and Linkerd's decay.
func Defaults() Config {
	return Config{
		Policy:           PolicyRoundRobin,
		LeastRequest:     LeastRequest{Choices: 2, ActiveRequestBias: 1},
		PeakEWMA:         PeakEWMA{Decay: 10 * time.Second},
		Hash:             Hash{TableSize: DefaultTableSize},
		GoMicro:          GoMicro{Strategy: StrategyRoundRobin},
		SlowStart:        SlowStart{Aggression: 1, MinWeightPercent: 10},
		PanicThreshold:   50,
		Overprovisioning: 140,
		Locality:         LocalityIgnore,
	}
}

// SetDefaults is Defaults.
func (c *Config) SetDefaults() { *c = Defaults() }

// Bounds of the configuration.
const (
	maxChoices          = 16
	maxBias             = 10
	minDecay            = 100 * time.Millisecond
	maxDecay            = time.Minute
	maxKeys             = 8
	minTableSize        = 251
	maxTableSize        = 655_373 // the larger size of the Maglev paper: 2.5 MiB
	maxFilters          = 16
	maxSlowStart        = time.Hour
	maxAggression       = 100
	minOverprovisioning = 100
	maxOverprovisioning = 10_000
)

// Validate says what is out of range.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(path, format string, args ...any) {
		errs = append(errs, conf.FieldErrorf(path, format, args...))
	}
	if !slices.Contains(policies, c.Policy) {
		refuse("policy", "expected one of %s, found %q", words(policies), c.Policy)
	}
	for _, n := range []struct {
		path              string
		value, least, top int
	}{
		{"leastRequest.choices", c.LeastRequest.Choices, 2, maxChoices},
		{"hash.tableSize", c.Hash.TableSize, minTableSize, maxTableSize},
		{"slowStart.minWeightPercent", c.SlowStart.MinWeightPercent, 1, 100},
		{"panicThreshold", c.PanicThreshold, 0, 100},
		{"overprovisioning", c.Overprovisioning, minOverprovisioning, maxOverprovisioning},
	} {
		if n.value < n.least || n.value > n.top {
			refuse(n.path, "expected %d to %d, found %d", n.least, n.top, n.value)
		}
	}
	if b := c.LeastRequest.ActiveRequestBias; !(b >= 0 && b <= maxBias) {
		refuse("leastRequest.activeRequestBias", "expected 0 to %d, found %v", maxBias, b)
	}
	if d := c.PeakEWMA.Decay; d < minDecay || d > maxDecay {
		refuse("peakEwma.decay", "expected %s to %s, found %s", minDecay, maxDecay, d)
	}
	if a := c.SlowStart.Aggression; !(a > 0 && a <= maxAggression) {
		refuse("slowStart.aggression", "expected more than 0 and at most %d, found %v", maxAggression, a)
	}
	if c.Locality != LocalityIgnore && c.Locality != LocalityPrefer {
		refuse("locality", "expected ignore or prefer, found %q", c.Locality)
	}
	errs = append(errs, c.checkHash(), c.checkGoMicro(), c.checkSlowStart())
	return errors.Join(errs...)
}

func (c *Config) checkHash() error {
	var errs []error
	if n := c.Hash.TableSize; n >= minTableSize && n <= maxTableSize && !prime(n) {
		errs = append(errs, conf.FieldErrorf("hash.tableSize",
			"expected a prime, found %d: otherwise some endpoints would never find their places; the next one is %d", n, nextPrime(n)))
	}
	if c.Policy == PolicyConsistentHash && len(c.Hash.Keys) == 0 {
		errs = append(errs, conf.FieldError("hash.keys",
			"policy consistent_hash needs at least one key, such as keys: [{header: x-user}], [{cookie: session}] or [{source: true}]"))
	}
	if len(c.Hash.Keys) > maxKeys {
		errs = append(errs, conf.FieldErrorf("hash.keys", "expected %d at most, found %d", maxKeys, len(c.Hash.Keys)))
	}
	for i, k := range c.Hash.Keys {
		path := fmt.Sprintf("hash.keys[%d]", i)
		given := 0
		for _, is := range []bool{k.Header != "", k.Cookie != "", k.Source} {
			if is {
				given++
			}
		}
		switch {
		case given != 1:
			errs = append(errs, conf.FieldError(path, "expected one of header: NAME, cookie: NAME and source: true"))
		case k.Header != "" && !middleware.ValidName(k.Header):
			errs = append(errs, conf.FieldErrorf(path+".header", "%q is not the name of a header field", k.Header))
		case k.Cookie != "" && !middleware.ValidName(k.Cookie):
			errs = append(errs, conf.FieldErrorf(path+".cookie", "%q is not the name of a cookie", k.Cookie))
		case slices.Contains(c.Hash.Keys[:i], k):
			errs = append(errs, conf.FieldError(path, "stands in the list twice"))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkGoMicro() error {
	var errs []error
	if c.Policy == PolicyGoMicro && c.GoMicro.Strategy == "" {
		errs = append(errs, conf.FieldError("goMicro.strategy", "policy go_micro needs the name of a strategy"))
	}
	if len(c.GoMicro.Filters) > maxFilters {
		errs = append(errs, conf.FieldErrorf("goMicro.filters", "expected %d at most, found %d", maxFilters, len(c.GoMicro.Filters)))
	}
	return errors.Join(errs...)
}

// checkSlowStart refuses it where a share of the requests is not what the
// policy goes by.
func (c *Config) checkSlowStart() error {
	switch {
	case c.SlowStart.Window > maxSlowStart:
		return conf.FieldErrorf("slowStart.window", "expected %s at most, found %s", maxSlowStart, c.SlowStart.Window)
	case c.SlowStart.Window < 0:
		return conf.FieldErrorf("slowStart.window", "expected a duration that is not negative, found %s", c.SlowStart.Window)
	case c.SlowStart.Window > 0 && (c.Policy == PolicyConsistentHash || c.Policy == PolicyGoMicro):
		return conf.FieldErrorf("slowStart.window", "policy %s has no slow start: leave it out, or take another policy", c.Policy)
	}
	return nil
}

func words[T ~string](list []T) string {
	s := make([]string, len(list))
	for i, w := range list {
		s[i] = string(w)
	}
	return strings.Join(s, ", ")
}

func prime(n int) bool {
	if n < 2 {
		return false
	}
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func nextPrime(n int) int {
	for !prime(n) {
		n++
	}
	return n
}
