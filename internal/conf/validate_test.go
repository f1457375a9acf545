package conf_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

type server struct {
	Name  string
	Ports []port
	Meta  meta
	Extra *meta
	Tags  map[string]meta
}

func (s *server) Validate() error {
	var errs []error
	if s.Name == "" {
		errs = append(errs, conf.FieldError("name", "must be given"))
	}
	if s.Name == "taken" {
		errs = append(errs, conf.FieldErrorf("name", "%s is taken", s.Name))
	}
	for i, p := range s.Ports {
		if p.Number == 22 {
			errs = append(errs, conf.FieldError(fmt.Sprintf("ports[%d].number", i), "is ssh's"))
		}
	}
	for key := range s.Tags {
		if key == "x.y" {
			errs = append(errs, conf.FieldError(fmt.Sprintf("tags[%q].owner", key), "nobody owns x.y"))
		}
	}
	return errors.Join(errs...)
}

type port struct{ Number int }

func (p port) Validate() error {
	if p.Number == 0 {
		return errors.New("a port without a number")
	}
	return nil
}

type meta struct{ Owner string }

func (m meta) Validate() error {
	if m.Owner == "" {
		return conf.FieldError("owner", "must be given")
	}
	return nil
}

func TestValidatePlacesItsErrors(t *testing.T) {
	const ok = "meta: {owner: me}\n"
	tests := []struct{ name, in, want string }{
		{"at the field", ok + "name: taken", "f.yaml:2:7: name: taken is taken"},
		{"at the struct where the field is missing", "meta: {owner: me}", "f.yaml:1:1: name: must be given"},
		{"in a list", ok + "name: x\nports:\n  - {number: 1}\n  - number: 22", "f.yaml:5:13: ports[1].number: is ssh's"},
		{"in a map with a dot in its key", ok + "name: x\ntags: {x.y: {owner: you}}", `f.yaml:3:21: tags["x.y"].owner: nobody owns x.y`},
		{"of an item, without a field", ok + "name: x\nports: [{}]", "f.yaml:3:9: ports[0]: a port without a number"},
		{"of a struct that the file does not mention", "name: x", "f.yaml:1:1: meta.owner: must be given"},
		{"of a struct that is null", "name: x\nmeta:", "f.yaml:2:1: meta.owner: must be given"},
		{"of a pointer that the file sets", ok + "name: x\nextra: {}", "f.yaml:3:8: extra.owner: must be given"},
		{
			"inner first and outer as well", "name: taken\nmeta: {}\nports: [{number: 22}, {}]",
			"f.yaml:1:7: name: taken is taken\nf.yaml:2:7: meta.owner: must be given\n" +
				"f.yaml:3:18: ports[0].number: is ssh's\nf.yaml:3:23: ports[1]: a port without a number",
		},
		{
			"beside mistakes, only of what is in the file", ok + "nmae: x\nports: [{number: 22}, {number: a}]",
			"f.yaml:2:1: unknown key \"nmae\", did you mean \"name\"?\nf.yaml:3:18: ports[0].number: is ssh's\n" +
				"f.yaml:3:32: ports[1].number: expected an integer, found the string \"a\"",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := parse(t, tt.in).Decode(&server{})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateSeesTheDefaults(t *testing.T) {
	v := server{Name: "x", Meta: meta{"me"}}
	if err := parse(t, "ports: [{number: 1}]").Decode(&v); err != nil {
		t.Errorf("good defaults are refused: %v", err)
	}
	v = server{Name: "taken", Meta: meta{"me"}, Extra: &meta{}}
	err := (conf.Node{}).Decode(&v)
	if want := "extra.owner: must be given"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestJoinFlattensSortsAndKeepsContext(t *testing.T) {
	at := func(file string, line int, msg string) *conf.Error {
		return &conf.Error{Pos: conf.Pos{File: file, Line: line, Col: 1}, Msg: msg}
	}
	err := conf.Join(
		errors.New("no place"),
		errors.Join(at("b", 2, "two"), nil, conf.Errors{at("b", 1, "one"), at("a", 9, "nine")}),
		at("b", 2, "two"),
		fmt.Errorf("context: %w", conf.Errors{at("c", 1, "x"), at("c", 2, "y")}),
	)
	want := "no place\na:9:1: nine\nb:1:1: one\nb:2:1: two\nc:1:1: context: x\nc:2:1: context: y"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("joined (-want +got):\n%s", diff)
	}
	if err := conf.Join(nil, errors.Join(nil)); err != nil {
		t.Errorf("Join of nothing is %v", err)
	}
	if err := conf.Join(fmt.Errorf("open: %w", fs.ErrNotExist)); err.Error() != "open: file does not exist" {
		t.Errorf("a plain error's text became %q", err)
	}
}
