package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, relative to this package's.
const root = "../.."

// golist runs go list in the module's folder.
func golist(t *testing.T, args ...string) []byte {
	t.Helper()
	return gocmd(t, append([]string{"list"}, args...)...)
}

func gocmd(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// local is an import path without the module's prefix.
func local(path string) string { return strings.TrimPrefix(path, Module+"/") }

func locals(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		for _, p := range l {
			all = append(all, local(p))
		}
	}
	return all
}

func modulePackages(t *testing.T) []Package {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(golist(t, "-json=ImportPath,Doc,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "./...")))
	var packages []Package
	for {
		var p struct {
			ImportPath, Doc                    string
			GoFiles, CgoFiles                  []string
			Imports, TestImports, XTestImports []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list -json: %v", err)
		}
		packages = append(packages, Package{
			Path: local(p.ImportPath), Doc: p.Doc, HasCode: len(p.GoFiles)+len(p.CgoFiles) > 0,
			Imports: locals(p.Imports), TestImports: locals(p.TestImports, p.XTestImports),
		})
	}
}

func TestModuleKeepsItsBans(t *testing.T) {
	packages := modulePackages(t)
	if len(packages) < 10 {
		t.Fatalf("go list knows %d packages only", len(packages))
	}
	for _, line := range Check(packages, Bans) {
		t.Error(line)
	}
}

func TestRegistryModelImportsTheStandardLibraryAlone(t *testing.T) {
	for _, p := range modulePackages(t) {
		if p.Path != "registry" {
			continue
		}
		for _, i := range p.Imports {
			if first, _, _ := strings.Cut(i, "/"); strings.Contains(first, ".") || first == "internal" {
				t.Errorf("registry imports %s: the model is plain Go, so that every room can speak it", i)
			}
		}
		return
	}
	t.Fatal("there is no package registry")
}

func TestProgramsLinkWhatTheyMay(t *testing.T) {
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(root, program, "main.go")); errors.Is(err, os.ErrNotExist) {
			continue // not every program exists yet
		}
		deps := strings.Fields(string(golist(t, "-deps", "./"+program)))
		for _, line := range CheckLinks(program, deps, LinkBans) {
			t.Error(line)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range modulePackages(t) {
		if p.HasCode && p.Doc == "" {
			t.Errorf("%s has no package comment", p.Path)
		}
	}
}

// row is a row of the table: | `module` | version | what it is for |
var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^ |]+) \\| (.+) \\|$")

func TestDependenciesTableHasExactlyTheDirectOnes(t *testing.T) {
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(gocmd(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	direct := map[string]string{}
	for _, r := range mod.Require {
		if !r.Indirect {
			direct[r.Path] = r.Version
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		path, version, reason := m[1], m[2], strings.TrimSpace(m[3])
		order = append(order, path)
		switch want, ok := direct[path]; {
		case !ok:
			t.Errorf("docs/dependencies.md lists %s, which go.mod does not require directly (or twice)", path)
		case want != version:
			t.Errorf("docs/dependencies.md has %s %s, go.mod %s", path, version, want)
		case len(reason) < 10:
			t.Errorf("docs/dependencies.md does not say what %s is for", path)
		}
		delete(direct, path)
	}
	for path, version := range direct {
		t.Errorf("docs/dependencies.md does not list %s %s, which go.mod requires", path, version)
	}
	if !slices.IsSorted(order) {
		t.Errorf("docs/dependencies.md is not sorted by module: %q", order)
	}
}
