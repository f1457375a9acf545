package object

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Groups and versions of the kinds.
const (
	meshGroup      = "mesh.outrigger.dev"
	meshVersion    = meshGroup + "/v1alpha1"
	gatewayGroup   = "gateway.networking.k8s.io"
	gatewayVersion = gatewayGroup + "/v1"
)

// kinds is every kind that may stand in a file, by its apiVersion.
var kinds = []struct {
	version, kind string
	decode        func(conf.Node) (Object, error)
}{
	{gatewayVersion, KindHTTPRoute, decodeHTTPRoute},
	{meshVersion, KindMeshService, decodeMeshService},
}

// Parse reads the objects of a file of YAML documents, every mistake in it at
// once. An empty document is skipped. Two objects with one identity are not
// told here: see Duplicates.
func Parse(name string, data []byte) ([]Object, error) {
	docs, err := conf.ParseAll(name, data)
	if err != nil {
		return nil, err
	}
	var objects []Object
	var errs []error
	for _, doc := range docs {
		if doc.IsZero() || doc.Kind() == conf.Null {
			continue
		}
		o, err := Decode(doc)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		objects = append(objects, o)
	}
	if err := conf.Join(errs...); err != nil {
		return nil, err
	}
	return objects, nil
}

// Decode reads one object, strictly. Its errors are conf.Errors.
func Decode(n conf.Node) (Object, error) {
	var head struct{ version, kind conf.Node }
	if n.Kind() != conf.Map {
		return nil, n.Errorf("expected an object (a map with apiVersion, kind, metadata and spec), found %s", n.Kind())
	}
	head.version, head.kind = n.Field("apiVersion"), n.Field("kind")
	var missing []error
	for _, f := range []struct {
		key  string
		node conf.Node
	}{{"apiVersion", head.version}, {"kind", head.kind}} {
		switch {
		case f.node.IsZero():
			missing = append(missing, n.Errorf("%s is missing: this is no object", f.key))
		case f.node.Kind() != conf.String:
			missing = append(missing, f.node.Errorf("%s: expected a string, found %s", f.key, f.node.Kind()))
		}
	}
	if len(missing) > 0 {
		return nil, conf.Join(missing...)
	}
	version, kind := head.version.Text(), head.kind.Text()
	var known []string
	for _, k := range kinds {
		if k.kind == kind && k.version == version {
			return k.decode(n)
		}
		if k.kind == kind {
			return nil, head.version.Errorf("apiVersion: %q is not known for kind %s: this version reads %s", version, kind, k.version)
		}
		known = append(known, k.kind+" ("+k.version+")")
	}
	return nil, head.kind.Errorf("kind: %q (%s) is not known: this version reads %s", kind, version, strings.Join(known, ", "))
}

// Duplicate is an object with the identity of one before it.
type Duplicate struct{ First, Second Meta }

// Error names both places.
func (d Duplicate) Error() *conf.Error {
	return &conf.Error{Pos: d.Second.Pos, Msg: fmt.Sprintf("%s is already defined at %s", d.Second.ID, d.First.Pos)}
}

// Duplicates finds the objects that have the identity of one before them.
func Duplicates(objects []Object) []Duplicate {
	first := map[ID]Meta{}
	var found []Duplicate
	for _, o := range objects {
		m := o.Metadata()
		if f, ok := first[m.ID]; ok {
			found = append(found, Duplicate{First: f, Second: m})
			continue
		}
		first[m.ID] = m
	}
	return found
}

// checkSubdomain checks a name that may have dots: RFC 1123 labels, 253 bytes
// at most.
func checkSubdomain(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > 253:
		return fmt.Errorf("%.20q… is longer than 253 characters", s)
	}
	if slices.ContainsFunc(strings.Split(s, "."), func(label string) bool { return registry.CheckName(label) != nil }) {
		return fmt.Errorf("%q is not a DNS name (labels of a-z, 0-9 and '-', with dots between them)", s)
	}
	return nil
}
