package balance

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

type guideUpstream struct {
	Endpoints []string
	Balancer  Config
}

func (u *guideUpstream) SetDefaults() { u.Balancer.SetDefaults() }

// What the guides show is decoded, and builds a balancer; what they call the
// defaults are the defaults.
func TestTheGuidesConfiguration(t *testing.T) {
	for _, file := range []string{"../../docs/guides/balancing.md", "../../docs/guides/balancing.zh-CN.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```yaml\n")[1:]
		if len(blocks) < 4 {
			t.Errorf("%s has %d blocks of configuration", file, len(blocks))
		}
		for i, b := range blocks {
			b, _, _ = strings.Cut(b, "```")
			n, err := conf.Parse(file, []byte(b))
			if err != nil {
				t.Fatal(err)
			}
			var c struct{ Upstreams map[string]guideUpstream }
			if err := n.Decode(&c); err != nil {
				t.Errorf("%s, block %d: %v", file, i+1, err)
			}
			for name, u := range c.Upstreams {
				build(t, u.Balancer, healthy(len(u.Endpoints)), Options{})
				if i == 0 {
					u.Balancer.Hash.Keys, u.Balancer.GoMicro.Filters = nil, nil // empty lists
					if diff := cmp.Diff(Defaults(), u.Balancer); diff != "" {
						t.Errorf("%s, %s: the defaults are others (-guide +code):\n%s", file, name, diff)
					}
				}
			}
		}
	}
}
