package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// promoCluster is what promo is called over xDS.
const promoCluster = "promo.default:80"

// BreakPromo makes the app promo answer everything with 500, or no longer.
func (s *Shop) BreakPromo(ctx context.Context, broken bool) error {
	method := http.MethodDelete
	if broken {
		method = http.MethodPut
	}
	return lab.Do(ctx, method, "http://"+s.Addr("promo-1 app")+"/broken")
}

// AwaitCircuit waits until the sidecar beside orders has a circuit of promo that
// is not closed, or has none.
func (s *Shop) AwaitCircuit(ctx context.Context, limit time.Duration, open bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return lab.Until(ctx, func(ctx context.Context) error {
		n, err := lab.Metric(ctx, "http://"+s.Addr("orders-1 admin")+"/metrics",
			"outrigger_breaker_circuits", `service="`+promoCluster+`"`)
		if err == nil && (n > 0) != open {
			err = fmt.Errorf("%v circuits of promo are not closed", n)
		}
		return err
	})
}

// Complaint is the first error in the log of a process that names a file; empty
// if there is none.
func (s *Shop) Complaint(name, file string) string {
	b, err := os.ReadFile(filepath.Join(s.Dir(), "logs", name+".log"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		var entry struct{ Level, Error string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Level != "ERROR" {
			continue
		}
		if _, rest, ok := strings.Cut(entry.Error, file); ok {
			return file + rest
		}
	}
	return ""
}
