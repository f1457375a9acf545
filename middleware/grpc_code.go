package middleware

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// GRPCCode is the status of a gRPC call
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
type GRPCCode uint32

// The statuses of gRPC. Others may come from an endpoint, and are passed on.
const (
	GRPCOK GRPCCode = iota
	GRPCCancelled
	GRPCUnknown
	GRPCInvalidArgument
	GRPCDeadlineExceeded
	GRPCNotFound
	GRPCAlreadyExists
	GRPCPermissionDenied
	GRPCResourceExhausted
	GRPCFailedPrecondition
	GRPCAborted
	GRPCOutOfRange
	GRPCUnimplemented
	GRPCInternal
	GRPCUnavailable
	GRPCDataLoss
	GRPCUnauthenticated

	// GRPCCodes is the number of the statuses that have a name.
	GRPCCodes
)

// grpcCodes are the statuses' names, their numbers as text, and the HTTP status
// that says the same, as google/rpc/code.proto and Envoy map them.
var grpcCodes = [GRPCCodes]struct {
	name, digits string
	http         int
}{
	GRPCOK:                 {"OK", "0", http.StatusOK},
	GRPCCancelled:          {"CANCELLED", "1", StatusClientGone},
	GRPCUnknown:            {"UNKNOWN", "2", http.StatusInternalServerError},
	GRPCInvalidArgument:    {"INVALID_ARGUMENT", "3", http.StatusBadRequest},
	GRPCDeadlineExceeded:   {"DEADLINE_EXCEEDED", "4", http.StatusGatewayTimeout},
	GRPCNotFound:           {"NOT_FOUND", "5", http.StatusNotFound},
	GRPCAlreadyExists:      {"ALREADY_EXISTS", "6", http.StatusConflict},
	GRPCPermissionDenied:   {"PERMISSION_DENIED", "7", http.StatusForbidden},
	GRPCResourceExhausted:  {"RESOURCE_EXHAUSTED", "8", http.StatusTooManyRequests},
	GRPCFailedPrecondition: {"FAILED_PRECONDITION", "9", http.StatusBadRequest},
	GRPCAborted:            {"ABORTED", "10", http.StatusConflict},
	GRPCOutOfRange:         {"OUT_OF_RANGE", "11", http.StatusBadRequest},
	GRPCUnimplemented:      {"UNIMPLEMENTED", "12", http.StatusNotImplemented},
	GRPCInternal:           {"INTERNAL", "13", http.StatusInternalServerError},
	GRPCUnavailable:        {"UNAVAILABLE", "14", http.StatusServiceUnavailable},
	GRPCDataLoss:           {"DATA_LOSS", "15", http.StatusInternalServerError},
	GRPCUnauthenticated:    {"UNAUTHENTICATED", "16", http.StatusUnauthorized},
}

// String is the name of the status, such as UNAVAILABLE; of one without a name
// it is the number.
func (c GRPCCode) String() string {
	if c < GRPCCodes {
		return grpcCodes[c].name
	}
	return strconv.FormatUint(uint64(c), 10)
}

// HTTP is the HTTP status that says the same of an endpoint: 500 for a status
// without a name.
func (c GRPCCode) HTTP() int {
	if c < GRPCCodes {
		return grpcCodes[c].http
	}
	return http.StatusInternalServerError
}

// Failed reports whether the status speaks against the endpoint: UNKNOWN,
// DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS, which are those that
// Envoy takes for a 5xx, without UNIMPLEMENTED: a client that asks for a method
// which does not exist would otherwise have every endpoint ejected.
func (c GRPCCode) Failed() bool {
	return c != GRPCUnimplemented && c.HTTP() >= http.StatusInternalServerError
}

// UnmarshalText reads a name, in upper or lower case, or a number from 0 to 16.
func (c *GRPCCode) UnmarshalText(text []byte) error {
	for i := range grpcCodes {
		known := &grpcCodes[i]
		if strings.EqualFold(known.name, string(text)) || known.digits == string(text) {
			*c = GRPCCode(i)
			return nil
		}
	}
	return fmt.Errorf("expected the name of a gRPC status such as unavailable, or its number, found %q", text)
}

// MarshalText is the name in lower case, for dumps of a configuration.
func (c GRPCCode) MarshalText() ([]byte, error) { return []byte(strings.ToLower(c.String())), nil }

// Append appends the code as grpc-status has it.
func (c GRPCCode) Append(b []byte) []byte { return append(b, c.digits()...) }

func (c GRPCCode) digits() string {
	if c < GRPCCodes {
		return grpcCodes[c].digits
	}
	return strconv.FormatUint(uint64(c), 10)
}

// parseGRPCCode reads a grpc-status. What is not a number is UNKNOWN, as it is
// for clients.
func parseGRPCCode(v []byte) GRPCCode {
	if len(v) == 0 || len(v) > 9 {
		return GRPCUnknown
	}
	var n GRPCCode
	for _, c := range v {
		if c < '0' || c > '9' {
			return GRPCUnknown
		}
		n = n*10 + GRPCCode(c-'0')
	}
	return n
}

// grpcOfReason is the status of local answers by their reason. Reasons that are
// not here have that of the HTTP status.
var grpcOfReason = map[Reason]GRPCCode{
	ReasonBadRequest:      GRPCInternal,
	ReasonHeadTooLarge:    GRPCResourceExhausted,
	ReasonHeadTimeout:     GRPCDeadlineExceeded,
	ReasonUnknownHost:     GRPCUnimplemented,
	ReasonNoRoute:         GRPCUnimplemented,
	ReasonNoEndpoint:      GRPCUnavailable,
	ReasonPoolFull:        GRPCUnavailable,
	ReasonConnectFailed:   GRPCUnavailable,
	ReasonUpstreamReset:   GRPCUnavailable,
	ReasonUpstreamInvalid: GRPCInternal,
	ReasonDeadline:        GRPCDeadlineExceeded,
	ReasonTryTimeout:      GRPCDeadlineExceeded,
	ReasonIdleTimeout:     GRPCDeadlineExceeded,
	ReasonClientGone:      GRPCCancelled,
	ReasonClientBody:      GRPCInternal,
	ReasonUpgradeRefused:  GRPCUnimplemented,
	ReasonMethodRefused:   GRPCUnimplemented,
	ReasonLastHop:         GRPCInternal,
	ReasonDraining:        GRPCUnavailable,
	ReasonOverload:        GRPCUnavailable,
	ReasonLoop:            GRPCInternal, // whoever tries again meets it again
	ReasonInternal:        GRPCInternal,
	ReasonDiscovery:       GRPCUnavailable,
	ReasonAppUnavailable:  GRPCUnavailable,

	// The built-in kinds'.
	"circuit_open": GRPCUnavailable,
	"rate_limited": GRPCResourceExhausted,
}

// GRPCCodeOf is the status of a gRPC call that is answered locally, by the
// reason; by the HTTP status for a reason that leaves it open, and for those of
// kinds that this package does not know.
func GRPCCodeOf(reason Reason, status int) GRPCCode {
	if code, ok := grpcOfReason[reason]; ok {
		return code
	}
	return grpcOfHTTP(status)
}

// grpcOfHTTP is what clients take a response for that is not gRPC
// (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
func grpcOfHTTP(status int) GRPCCode {
	switch status {
	case http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge:
		return GRPCInternal
	case http.StatusUnauthorized:
		return GRPCUnauthenticated
	case http.StatusForbidden:
		return GRPCPermissionDenied
	case http.StatusNotFound:
		return GRPCUnimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return GRPCUnavailable
	}
	return GRPCUnknown
}
