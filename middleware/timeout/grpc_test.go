package timeout

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestTheTimeOfAGRPCCallIsPassedOnAndEnforced(t *testing.T) {
	for name, tt := range map[string]struct {
		config Config
		value  string
		want   string // what the next hop is told
		after  time.Duration
	}{
		"the call's is earlier": {Config{Request: time.Second}, "250m", "250", 250 * time.Millisecond},
		"ours is earlier":       {Config{Request: 100 * time.Millisecond}, "250m", "100", 100 * time.Millisecond},
		"only the call's":       {Config{}, "250m", "250", 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := ""
				end := middleware.HandlerFunc(func(x *middleware.Exchange) error {
					told = string(x.Request.Header.Get(field))
					<-x.Context().Done()
					return x.Cause()
				})
				x := middleware.NewExchange(nowhere{})
				x.Start = time.Now()
				x.Request.Method = []byte(http.MethodPost)
				x.Request.Header.Add("content-type", "application/grpc")
				x.Request.Header.Add(middleware.HeaderGRPCTimeout, tt.value)
				x.Serve(middleware.Chain(end, New(tt.config, middleware.Gateway, newDeadlines())))
				if code, _ := x.GRPCStatus(); told != tt.want || time.Since(x.Start) != tt.after || code != middleware.GRPCDeadlineExceeded {
					t.Errorf("the next hop is told %q; ended with %s after %v", told, code, time.Since(x.Start))
				}
				x.End(nil)
			})
		})
	}
}

func TestACallWithoutTimeIsNotSent(t *testing.T) {
	x := middleware.NewExchange(nowhere{})
	x.Start = time.Now()
	x.Request.Method = []byte(http.MethodPost)
	x.Request.Header.Add("content-type", "application/grpc")
	x.Request.Header.Add(field, "0")
	end := middleware.HandlerFunc(func(*middleware.Exchange) error {
		t.Error("it was sent")
		return nil
	})
	x.Serve(middleware.Chain(end, New(Config{}, middleware.Inbound, newDeadlines())))
	code, _ := x.GRPCStatus()
	if m := string(x.Response.Header.Get(middleware.HeaderGRPCMessage)); code != middleware.GRPCDeadlineExceeded || !strings.Contains(m, "was over") {
		t.Errorf("%s, %q", code, m)
	}
	x.End(nil)
}

// nowhere is a client's side that nothing goes to.
type nowhere struct{}

func (nowhere) Interrupt(*middleware.Exchange, error)                    {}
func (nowhere) Inform(int, *middleware.Header) error                     { return nil }
func (nowhere) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, nil }
