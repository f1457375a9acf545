package proxy

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

// withoutH2C takes h2c out of a list of protocols: it is this hop's to accept,
// and it does not (RFC 9113, section 3.1). Sent on, it would open a tunnel to the
// app that no middleware sees.
func withoutH2C(list []byte) []byte {
	found := false
	for p := range bytes.SplitSeq(list, []byte{','}) {
		p = bytes.TrimSpace(p)
		found = found || len(p) == 0 || middleware.EqualFold(p, "h2c")
	}
	if !found {
		return list
	}
	var kept [][]byte
	for p := range bytes.SplitSeq(list, []byte{','}) {
		if p = bytes.TrimSpace(p); len(p) > 0 && !middleware.EqualFold(p, "h2c") {
			kept = append(kept, p)
		}
	}
	return bytes.Join(kept, []byte(", "))
}

// countForward counts this hop in Max-Forwards (RFC 9110, section 7.6.2). last
// says that the request must not be forwarded; ok is false where the field is
// not a number.
func countForward(h *middleware.Header) (last, ok bool) {
	value := h.Get("max-forwards")
	if value == nil {
		return false, true
	}
	n, err := strconv.ParseUint(string(value), 10, 63)
	switch {
	case err != nil:
		return false, false
	case n == 0:
		return true, true
	}
	h.Set("max-forwards", strconv.FormatUint(n-1, 10))
	return false, true
}

// lastHop answers for a request that goes no further.
func lastHop(t *middleware.Target, method string, ok bool) *middleware.Target {
	switch {
	case !ok:
		return refusal(t, http.StatusBadRequest, middleware.ReasonBadRequest, "Max-Forwards is not a number")
	case method == http.MethodOptions:
		return refusal(t, http.StatusNoContent, middleware.ReasonLastHop, "")
	}
	return refusal(t, http.StatusNotImplemented, middleware.ReasonLastHop, "TRACE is not answered by a proxy")
}

// refusal is the target with its chain, and without a way to an endpoint.
func refusal(t *middleware.Target, status int, reason middleware.Reason, message string) *middleware.Target {
	refused := *t
	refused.Pick, refused.Timeout = route.Refusal(t.Route, status, reason, message).Pick, 0
	return &refused
}
