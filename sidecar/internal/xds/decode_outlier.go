package xds

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

var outlierFields = allow(`consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
	enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
	consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
	consecutive_local_origin_failure enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate
	failure_percentage_threshold enforcing_failure_percentage enforcing_failure_percentage_local_origin
	failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time max_ejection_time_jitter
	successful_active_health_check_uneject_host always_eject_one_host`, "")

const atOutlier = "outlier_detection"

// decodeOutlier reads a message with the defaults that Envoy's API gives to its
// fields: whoever sends one means those.
func decodeOutlier(p *problems, o *clusterv3.OutlierDetection) upstream.Outlier {
	p.check(atOutlier, o, outlierFields)
	d := outlierDecoder{p}
	split := o.GetSplitExternalLocalOriginErrors()
	out := upstream.Outlier{
		SplitLocalFailures: split,
		SuccessRate: upstream.SuccessRate{
			MinHosts:    max(number(o.GetSuccessRateMinimumHosts(), 5), 1),
			MinRequests: max(number(o.GetSuccessRateRequestVolume(), 100), 1),
		},
		FailurePercent: upstream.FailurePercent{
			MinHosts:    max(number(o.GetFailurePercentageMinimumHosts(), 5), 1),
			MinRequests: max(number(o.GetFailurePercentageRequestVolume(), 50), 1),
		},
		Interval:           d.duration("interval", o.GetInterval(), 10*time.Second),
		BaseEjectionTime:   d.duration("base_ejection_time", o.GetBaseEjectionTime(), 30*time.Second),
		MaxEjectionTime:    d.duration("max_ejection_time", o.GetMaxEjectionTime(), 5*time.Minute),
		MaxEjectionPercent: number(o.GetMaxEjectionPercent(), 10),
		AlwaysEjectOne:     o.GetAlwaysEjectOneHost().GetValue(),
		ReturnOnHealthy:    o.GetSuccessfulActiveHealthCheckUnejectHost() == nil || o.GetSuccessfulActiveHealthCheckUnejectHost().GetValue(),
	}
	if j := o.GetMaxEjectionTimeJitter(); j != nil {
		out.EjectionJitter = clamp(decodeDuration(p, atOutlier+".max_ejection_time_jitter", j), time.Millisecond, 24*time.Hour)
	}
	if d.enforced("enforcing_consecutive_5xx", o.GetEnforcingConsecutive_5Xx(), true) {
		out.Consecutive5xx = number(o.GetConsecutive_5Xx(), 5)
	}
	if d.enforced("enforcing_consecutive_gateway_failure", o.GetEnforcingConsecutiveGatewayFailure(), false) {
		out.ConsecutiveGatewayErrors = number(o.GetConsecutiveGatewayFailure(), 5)
	}
	if split && d.enforced("enforcing_consecutive_local_origin_failure", o.GetEnforcingConsecutiveLocalOriginFailure(), true) {
		out.ConsecutiveLocalFailures = number(o.GetConsecutiveLocalOriginFailure(), 5)
	}
	rate := d.enforced("enforcing_success_rate", o.GetEnforcingSuccessRate(), true)
	failures := d.enforced("enforcing_failure_percentage", o.GetEnforcingFailurePercentage(), false)
	if split {
		d.same("enforcing_local_origin_success_rate", rate, d.enforced("enforcing_local_origin_success_rate", o.GetEnforcingLocalOriginSuccessRate(), true))
		d.same("enforcing_failure_percentage_local_origin", failures,
			d.enforced("enforcing_failure_percentage_local_origin", o.GetEnforcingFailurePercentageLocalOrigin(), false))
	}
	if rate {
		out.SuccessRate.StdevFactor = float64(number(o.GetSuccessRateStdevFactor(), 1900)) / 1000
	}
	if failures {
		out.FailurePercent.Threshold = number(o.GetFailurePercentageThreshold(), 85)
	}
	return out
}

type outlierDecoder struct{ p *problems }

// enforced reads the percent of cases in which a detection ejects: all or none.
func (d outlierDecoder) enforced(field string, v *wrapperspb.UInt32Value, unset bool) bool {
	if v == nil {
		return unset
	}
	if n := v.GetValue(); n != 0 && n != 100 {
		d.p.addf(join(atOutlier, field), "%d is not supported: a detection ejects always (100) or never (0)", n)
	}
	return v.GetValue() == 100
}

// same refuses what would be one detection for local failures and another one
// for responses.
func (d outlierDecoder) same(field string, external, local bool) {
	if external != local {
		d.p.addf(join(atOutlier, field), "differs from that of responses, which is not supported: set both")
	}
}

func (d outlierDecoder) duration(field string, v *durationpb.Duration, unset time.Duration) time.Duration {
	if v == nil {
		return unset
	}
	t := decodeDuration(d.p, join(atOutlier, field), v)
	if t > 0 && t < time.Second {
		d.p.addf(join(atOutlier, field), "%s is not supported: it is at least 1s", t)
	}
	return t
}
