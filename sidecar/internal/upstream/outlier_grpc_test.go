package upstream

import (
	"io"
	"net/http"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// grpcServer answers a gRPC call with the status that its path names: in its
// head, or after a message in its trailer.
func grpcServer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	status := r.URL.Query().Get("status")
	switch r.URL.Path {
	case "/s/Head":
		w.Header().Set("Grpc-Status", status)
	case "/s/Trailer":
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	case "/s/Broken":
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

func TestStatusesOfGRPCCallsEject(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules Outlier
		calls []string // the last one ejects, or none
		want  string
	}{
		{"in the head", Outlier{Consecutive5xx: 3}, []string{"/s/Head?status=14", "/s/Head?status=2", "/s/Head?status=15"}, "consecutive5xx"},
		{"in the trailer", Outlier{Consecutive5xx: 3}, []string{"/s/Trailer?status=14", "/s/Trailer?status=13", "/s/Trailer?status=4"}, "consecutive5xx"},
		{"as those of a gateway", Outlier{ConsecutiveGatewayErrors: 2}, []string{"/s/Trailer?status=14", "/s/Head?status=4"}, "consecutiveGatewayErrors"},
		{"which are not all", Outlier{ConsecutiveGatewayErrors: 2}, []string{"/s/Head?status=14", "/s/Head?status=13", "/s/Head?status=14"}, ""},
		{"a success between", Outlier{Consecutive5xx: 2}, []string{"/s/Head?status=14", "/s/Trailer?status=0", "/s/Head?status=14"}, ""},
		{"a mistake of the caller between", Outlier{Consecutive5xx: 2}, []string{"/s/Head?status=14", "/s/Trailer?status=3", "/s/Head?status=14"}, ""},
		{"methods that do not exist", Outlier{Consecutive5xx: 2}, []string{"/s/Head?status=12", "/s/Head?status=12", "/s/Head?status=12"}, ""},
		{"responses that break off", Outlier{Consecutive5xx: 2}, []string{"/s/Broken", "/s/Broken"}, "consecutive5xx"},
		{"responses that are not gRPC", Outlier{Consecutive5xx: 2}, []string{"/", "/s/Head?status=14"}, "consecutive5xx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := server(t, grpcServer)
			c := cluster(t, func(s *Settings) {
				s.Outlier.Consecutive5xx, s.Outlier.ConsecutiveGatewayErrors = tt.rules.Consecutive5xx, tt.rules.ConsecutiveGatewayErrors
				s.Outlier.MaxEjectionPercent = 100
			}, address)
			for i, path := range tt.calls {
				x := requestTo(c, address)
				x.Request.Method, x.Request.Target = []byte("POST"), []byte(path)
				x.Request.Header.Add("content-type", "application/grpc")
				finish(x)
				ejected := endpointStatus(c, address).Ejected
				switch {
				case ejected != nil && (i < len(tt.calls)-1 || tt.want == ""):
					t.Fatalf("ejected after call %d: %s", i, ejected.Cause)
				case i == len(tt.calls)-1 && tt.want != "" && (ejected == nil || ejected.Cause != tt.want):
					t.Fatalf("not ejected for %s: %+v", tt.want, ejected)
				}
			}
		})
	}
}

func TestACallThatIsGivenUpSaysNothingOfItsEndpoint(t *testing.T) {
	address := server(t, grpcServer)
	c := cluster(t, func(s *Settings) { s.Outlier.Consecutive5xx, s.Outlier.MaxEjectionPercent = 1, 100 }, address)
	for _, end := range []error{middleware.ErrClientGone, middleware.ErrDeadline} {
		x := requestTo(c, address)
		x.Request.Method, x.Request.Target = []byte("POST"), []byte("/s/Trailer?status=14")
		x.Request.Header.Add("content-type", "application/grpc")
		x.Serve(middleware.Router)
		x.End(end)
		if e := endpointStatus(c, address).Ejected; e != nil {
			t.Errorf("%v: ejected for %s", end, e.Cause)
		}
	}
}

func TestAFullPoolIsNoFailureOfAnEndpoint(t *testing.T) {
	entered, let := make(chan struct{}), make(chan struct{})
	address := server(t, func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-let
	})
	c := cluster(t, func(s *Settings) { s.Pool.MaxRequests = 1 }, address)
	first := make(chan result)
	go func() { first <- finish(requestTo(c, address)) }()
	<-entered
	for range 3 {
		if r := finish(requestTo(c, address)); r.reason != middleware.ReasonPoolFull {
			t.Errorf("%+v", r)
		}
	}
	close(let)
	if r := <-first; r.status != http.StatusOK {
		t.Errorf("the first one: %+v", r)
	}
	if n := c.hostOf(address).stats.Failures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}
