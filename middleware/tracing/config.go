package tracing

import (
	"fmt"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// Config is the configuration of a tracing entry.
type Config struct {
	Sampler Sampler
	// Trust says whether a trace that came with the request is continued. Left
	// out, it is false on a gateway, whose clients are strangers, and true
	// elsewhere.
	Trust *bool
}

// Sampler decides which traces are sampled, where they begin here: a trace that
// was begun elsewhere has been decided about.
type Sampler struct {
	Ratio float64 // from 0, none, to 1, all
}

func defaults() Config { return Config{Sampler: Sampler{Ratio: 0.01}} }

// Validate says what is out of range.
func (s *Sampler) Validate() error {
	if !(s.Ratio >= 0 && s.Ratio <= 1) {
		return middleware.FieldError("ratio", fmt.Sprintf("expected 0 to 1, found %v", s.Ratio))
	}
	return nil
}
