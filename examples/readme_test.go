package examples_test

import (
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/examples/quickstart/config"
)

// documents are the files that a stranger copies from, by their path from the
// root.
var documents = []string{
	"README.md", "README.zh-CN.md", "docs/README.md", "docs/architecture.md", "deploy/README.md",
	"docs/guides/ten-minutes.md", "docs/guides/ten-minutes.zh-CN.md", "docs/guides/clients.md",
	"examples/README.md", "examples/quickstart/README.md", "examples/embed/README.md", "examples/vm-without-controlplane/README.md",
	"examples/gateway/README.md", "examples/replace-internal-gateway/README.md",
}

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// snippet is a fenced block of code. The first line of YAML is a comment that
// begins with the name of the file that it is.
type snippet struct {
	line int // of its fence
	lang string
	file string
	text string
}

// snippets are the fenced blocks of a document, of one language or of all.
func snippets(t *testing.T, name, lang string) []snippet {
	t.Helper()
	var all []snippet
	var open *snippet
	n := 0
	for line := range strings.Lines(document(t, name)) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && open == nil:
			open = &snippet{line: n, lang: fence}
		case isFence:
			if comment, ok := strings.CutPrefix(open.text, "# "); ok {
				open.file = strings.Fields(comment)[0]
			}
			if lang == "" || open.lang == lang {
				all = append(all, *open)
			}
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block is not closed", name, open.line)
	}
	return all
}

func TestYAMLOfTheDocumentsPassesCheck(t *testing.T) {
	checked := 0
	for _, name := range documents {
		objects := map[string]string{"objects/none.yaml": ""}
		for _, s := range snippets(t, name, "yaml") {
			if strings.HasPrefix(s.file, "objects/") {
				objects[s.file] = s.text
			}
		}
		for _, s := range snippets(t, name, "yaml") {
			t.Run(fmt.Sprintf("%s:%d", name, s.line), func(t *testing.T) {
				checked++
				switch {
				case s.file == "sidecar.yaml":
					check(t, "sidecar", "sidecar.yaml", map[string]string{"sidecar.yaml": s.text})
				case s.file == "controlplane.yaml":
					files := maps.Clone(objects)
					files["controlplane.yaml"] = s.text
					check(t, "controlplane", "controlplane.yaml", files)
				case strings.HasPrefix(s.file, "objects/"):
					check(t, "controlplane", "controlplane.yaml", map[string]string{
						"controlplane.yaml": "sources: {files: [objects/]}\n", s.file: s.text,
					})
				default:
					t.Errorf("the snippet does not begin with the name of its file, as in '# sidecar.yaml'")
				}
			})
		}
	}
	if checked < 10 {
		t.Errorf("only %d snippets were found", checked)
	}
}

func TestConfigurationOfTheQuickstartPassesCheck(t *testing.T) {
	files := map[string]string{}
	err := fs.WalkDir(config.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := config.Files.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "controlplane", "controlplane.yaml", files)
	sidecars := 0
	for path := range files {
		if strings.HasSuffix(path, ".sidecar.yaml") {
			sidecars++
			check(t, "sidecar", path, files)
		}
	}
	if sidecars != 8 {
		t.Errorf("%d sidecars were checked, want 8", sidecars)
	}
}

func check(t *testing.T, name, file string, files map[string]string) {
	t.Helper()
	stdout, stderr, code := program(t, write(t, files), name, "check", "-c", file)
	if code != 0 {
		t.Errorf("%s check -c %s: exit code %d\n%s%s", name, file, code, stdout, stderr)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	for _, name := range documents {
		for _, m := range link.FindAllStringSubmatch(document(t, name), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %q: %v", name, m[1], err)
				continue
			}
			if u.IsAbs() || u.Path == "" {
				continue
			}
			target := filepath.Join("..", filepath.Dir(filepath.FromSlash(name)), filepath.FromSlash(u.Path))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere: %v", name, m[1], err)
			}
		}
	}
}

var (
	makeCommand = regexp.MustCompile(`(?m)(?:^|` + "`" + `)make ([a-z]+)`)
	target      = regexp.MustCompile(`(?m)^([a-z][a-z-]*)(?: [a-z][a-z -]*)?:`)
)

func TestMakeTargetsOfTheDocumentsExist(t *testing.T) {
	var targets []string
	for _, m := range target.FindAllStringSubmatch(document(t, "Makefile"), -1) {
		targets = append(targets, m[1])
	}
	for _, name := range documents {
		for _, m := range makeCommand.FindAllStringSubmatch(document(t, name), -1) {
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s: there is no make %s; there are %v", name, m[1], targets)
			}
		}
	}
}

// TestTranslationsSayTheSame keeps a translation in step: the same snippets and
// commands, but for their comments.
func TestTranslationsSayTheSame(t *testing.T) {
	comment := regexp.MustCompile(`(?m)\s+#.*$`)
	strip := func(name string) []string {
		var all []string
		for _, s := range snippets(t, name, "") {
			all = append(all, s.lang+"\n"+comment.ReplaceAllString(s.text, ""))
		}
		return all
	}
	for english, chinese := range map[string]string{
		"README.md":                  "README.zh-CN.md",
		"docs/guides/ten-minutes.md": "docs/guides/ten-minutes.zh-CN.md",
	} {
		if diff := cmp.Diff(strip(english), strip(chinese)); diff != "" {
			t.Errorf("the code of %s and %s differs:\n%s", english, chinese, diff)
		}
	}
}
