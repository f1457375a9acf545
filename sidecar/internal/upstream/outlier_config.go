package upstream

import (
	"errors"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Outlier is when an endpoint is ejected because of what its attempts came to:
// the meaning is that of Envoy's outlier_detection. A number of 0 switches a
// detection off.
type Outlier struct {
	Off bool // no endpoint is ejected

	// Consecutive5xx is how many responses of 500 to 599 in a row eject.
	Consecutive5xx int `yaml:"consecutive5xx"`
	// ConsecutiveGatewayErrors counts 502, 503 and 504 alone.
	ConsecutiveGatewayErrors int
	// SplitLocalFailures says that attempts without a response (no connection,
	// one that broke off, one that took too long) count for themselves, by
	// ConsecutiveLocalFailures. Otherwise they count as 503 and 504 do.
	SplitLocalFailures       bool
	ConsecutiveLocalFailures int

	SuccessRate    SuccessRate
	FailurePercent FailurePercent

	Interval           time.Duration // between looks at the rates
	BaseEjectionTime   time.Duration // of the first ejection; the n-th takes n times as long
	MaxEjectionTime    time.Duration // that it does not grow beyond
	EjectionJitter     time.Duration // up to which each one is longer
	MaxEjectionPercent int           // of the endpoints that are ejected at a time
	// AlwaysEjectOne lets one be ejected where the percentage is less than one.
	AlwaysEjectOne bool
	// ReturnOnHealthy ends an ejection with the first good health check.
	ReturnOnHealthy bool
}

// SuccessRate ejects the endpoints whose success rate in an interval is below
// the mean of all by more than StdevFactor standard deviations.
type SuccessRate struct {
	StdevFactor float64
	MinHosts    int // that had at least MinRequests, to look at all
	MinRequests int // of an endpoint in the interval
}

// FailurePercent ejects the endpoints of which at least Threshold percent of the
// attempts in an interval have failed.
type FailurePercent struct {
	Threshold   int
	MinHosts    int
	MinRequests int
}

// DefaultOutlier ejects after five attempts in a row that got no response, or
// one that says that there is nobody behind it. A 500 does not count: a request
// that an app cannot digest would be sent around and take one instance after
// the other out. Half of the endpoints can be ejected, which is where the
// balancer's panic threshold begins. The first ejection is short: most of what
// fails so is a restart, and who comes back should be found.
func DefaultOutlier() Outlier {
	return Outlier{
		ConsecutiveGatewayErrors: 5,
		ConsecutiveLocalFailures: 5,
		SuccessRate:              SuccessRate{MinHosts: 5, MinRequests: 100},
		FailurePercent:           FailurePercent{MinHosts: 5, MinRequests: 50},
		Interval:                 10 * time.Second,
		BaseEjectionTime:         5 * time.Second,
		MaxEjectionTime:          5 * time.Minute,
		MaxEjectionPercent:       50,
		AlwaysEjectOne:           true,
	}
}

// SetDefaults is DefaultOutlier.
func (o *Outlier) SetDefaults() { *o = DefaultOutlier() }

// Bounds of an Outlier.
const (
	maxConsecutive = 1 << 20
	maxVolume      = 1 << 30
	minInterval    = time.Second // Set.Run looks every second
)

// Validate says what is out of range.
func (o *Outlier) Validate() error {
	errs := []error{
		bounded("consecutive5xx", o.Consecutive5xx, 0, maxConsecutive),
		bounded("consecutiveGatewayErrors", o.ConsecutiveGatewayErrors, 0, maxConsecutive),
		bounded("consecutiveLocalFailures", o.ConsecutiveLocalFailures, 0, maxConsecutive),
		bounded("successRate.minHosts", o.SuccessRate.MinHosts, 1, maxVolume),
		bounded("successRate.minRequests", o.SuccessRate.MinRequests, 1, maxVolume),
		bounded("failurePercent.threshold", o.FailurePercent.Threshold, 0, 100),
		bounded("failurePercent.minHosts", o.FailurePercent.MinHosts, 1, maxVolume),
		bounded("failurePercent.minRequests", o.FailurePercent.MinRequests, 1, maxVolume),
		bounded("maxEjectionPercent", o.MaxEjectionPercent, 0, 100),
		within("interval", o.Interval, minInterval, day, false),
		within("baseEjectionTime", o.BaseEjectionTime, time.Second, day, false),
		within("maxEjectionTime", o.MaxEjectionTime, time.Second, day, false),
		within("ejectionJitter", o.EjectionJitter, time.Millisecond, day, true),
	}
	if f := o.SuccessRate.StdevFactor; !(f >= 0 && f <= 100) { // a NaN is neither
		errs = append(errs, conf.FieldErrorf("successRate.stdevFactor", "expected 0 to 100, found %v", f))
	}
	return errors.Join(errs...)
}

// rates reports whether what attempts came to has to be counted over time.
func (o *Outlier) rates() bool {
	return !o.Off && (o.SuccessRate.StdevFactor > 0 || o.FailurePercent.Threshold > 0)
}
