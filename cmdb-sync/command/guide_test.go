package command_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/cptest"
)

var block = regexp.MustCompile("(?s)```(yaml|csv)\n(.*?)```")

// The guide's configurations are right, and the first one does with the
// guide's machines what the guide says.
func TestGuideWorksAsItIsWritten(t *testing.T) {
	for _, name := range []string{"cmdb-sync.md", "cmdb-sync.zh-CN.md"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", name))
			if err != nil {
				t.Fatal(err)
			}
			cp := cptest.New(t)
			s := newShell(t, cp.URL)
			server := regexp.MustCompile(`http://127\.0\.0\.1:18080`)
			yamls := 0
			for _, m := range block.FindAllSubmatch(text, -1) {
				if string(m[1]) == "csv" {
					s.write("hosts.csv", string(m[2]))
					continue
				}
				yamls++
				s.write("cmdb-sync.yaml", server.ReplaceAllString(string(m[2]), cp.URL))
				s.want(0, "configuration is right", "validate")
				if yamls == 1 {
					s.want(5, "2 to add", "plan", "--out", "plan.json")
					s.want(0, "applied: 2 added", "apply", "plan.json")
					if got := cp.Host("idc-18", "spec", "locality", "zone"); got != "bj-2" {
						t.Errorf("idc-18 is in %v", got)
					}
				}
			}
			if yamls != 2 {
				t.Errorf("%d configurations in the guide, want 2", yamls)
			}
		})
	}
}
