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

// Kind is a kind of object, and how it is called.
type Kind struct {
	Version string // apiVersion
	Name    string // kind
	Plural  string // in URLs and on the command line
	// Global says that objects of this kind have no namespace.
	Global bool

	decode func(conf.Node) (Object, error)
}

// Kinds is every kind that there is, in the order in which they are to be
// applied: what is referred to first.
var Kinds = []Kind{
	{Version: meshVersion, Name: KindHost, Plural: "hosts", Global: true, decode: decodeHost},
	{Version: meshVersion, Name: KindMeshService, Plural: "meshservices", decode: decodeMeshService},
	{Version: gatewayVersion, Name: KindHTTPRoute, Plural: "httproutes", decode: decodeHTTPRoute},
}

// KindOf finds a kind by its name or plural, in any case.
func KindOf(word string) (Kind, bool) {
	for _, k := range Kinds {
		if strings.EqualFold(word, k.Name) || strings.EqualFold(word, k.Plural) {
			return k, true
		}
	}
	return Kind{}, false
}

// ParseKey takes an object's key apart: namespace/name, or name where the kind
// has no namespaces.
func (k Kind) ParseKey(key string) (ID, error) {
	id := ID{Kind: k.Name, Name: key}
	check := checkObjectName
	if !k.Global {
		ns, name, ok := strings.Cut(key, "/")
		if !ok {
			return ID{}, fmt.Errorf("%.100q is not of the form namespace/name", key)
		}
		if err := registry.CheckName(ns); err != nil {
			return ID{}, fmt.Errorf("namespace: %w", err)
		}
		id.Namespace, id.Name = ns, name
		check = checkSubdomain
	}
	if err := check(id.Name); err != nil {
		return ID{}, fmt.Errorf("name: %w", err)
	}
	return id, nil
}

// Parse reads the objects of a file of YAML documents, every mistake in it at
// once. An empty document is skipped. Two objects with one identity are not
// told here: see Duplicates.
func Parse(name string, data []byte) ([]Object, error) {
	docs, err := ParseDocuments(name, data)
	if err != nil {
		return nil, err
	}
	var objects []Object
	for _, d := range docs {
		objects = append(objects, d.Object)
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
	for _, k := range Kinds {
		if k.Name == kind && k.Version == version {
			return k.decode(n)
		}
		if k.Name == kind {
			return nil, head.version.Errorf("apiVersion: %q is not known for kind %s: this version reads %s", version, kind, k.Version)
		}
		known = append(known, k.Name+" ("+k.Version+")")
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
