package builtin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestEveryKindKeepsTheContract(t *testing.T) {
	for _, kind := range builtin.Kinds() {
		middlewaretest.RunKind(t, middlewaretest.Memory{}, kind)
	}
}

// notKinds are the folders that hold no kind.
var notKinds = []string{"builtin", "middlewaretest"}

func TestEveryFolderOfAKindIsListed(t *testing.T) {
	var listed []string
	for _, k := range builtin.Kinds() {
		listed = append(listed, k.Name)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(notKinds, e.Name()) && e.Name() != "testdata" {
			folders = append(folders, e.Name())
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, folders) {
		t.Errorf("listed: %v\nfolders: %v", listed, folders)
	}
}

func TestEveryReadmeHasItsSections(t *testing.T) {
	want := []string{"Name", "Description", "Syntax", "Examples", "Metrics"}
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			text := readme(t, k)
			if !strings.HasPrefix(text, "# "+k.Name+"\n") {
				t.Errorf("the first line should be the kind's name")
			}
			var sections []string
			for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1) {
				sections = append(sections, m[1])
			}
			if !slices.Equal(sections, want) {
				t.Errorf("sections %q, want %q", sections, want)
			}
		})
	}
}

func TestEverySnippetOfEveryReadmeIsAValidFile(t *testing.T) {
	fence := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			snippets := fence.FindAllStringSubmatch(readme(t, k), -1)
			if len(snippets) < 2 {
				t.Fatalf("%d snippets, want one of the syntax and one example at least", len(snippets))
			}
			for _, s := range snippets {
				n, err := conf.Parse("README.md", []byte(s[1]))
				if err != nil {
					t.Fatalf("%s%v", s[1], err)
				}
				lists, err := middleware.ParseLists(n, builtin.Kinds())
				if err != nil {
					t.Errorf("%s%v", s[1], err)
				}
				all := slices.Concat(lists.Inbound, lists.Outbound, lists.Gateway)
				if !slices.ContainsFunc(all, func(e middleware.Entry) bool { return e.Kind == k.Name }) {
					t.Errorf("the snippet does not show %s:\n%s", k.Name, s[1])
				}
			}
		})
	}
}

// TestEveryMetricIsInItsReadme reads the names out of the code, so that none
// can be added without a word.
func TestEveryMetricIsInItsReadme(t *testing.T) {
	name := regexp.MustCompile(`"(outrigger_[a-z_]+)"`)
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("..", k.Name, "*.go"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no code: %v", err)
			}
			text := readme(t, k)
			for _, file := range files {
				code, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range name.FindAllStringSubmatch(string(code), -1) {
					if !strings.Contains(text, m[1]) {
						t.Errorf("%s is not in the README", m[1])
					}
				}
			}
		})
	}
}

func readme(t *testing.T, k middleware.Kind) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", k.Name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
