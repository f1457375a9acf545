// Package host is what cmdb-sync and the control plane say to each other about
// machines: the Host object, the names of such objects, and the annotations by
// which a sync remembers what it did to one.
package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/outrigger-mesh/outrigger/registry"
)

// What a Host object says of itself.
const (
	APIVersion = "mesh.outrigger.dev/v1alpha1"
	KindName   = "Host"
)

// Annotations that a sync leaves on the hosts it owns. They are times of
// RFC 3339, but for the last.
const (
	// AbsentSince is when the source first did not have the machine.
	AbsentSince = "mesh.outrigger.dev/absent-since"
	// RetiredSince is when the source first said that the machine is to go.
	RetiredSince = "mesh.outrigger.dev/retired-since"
	// StatusBefore is the status that a machine had when it began to leave.
	StatusBefore = "mesh.outrigger.dev/status-before"
)

// Object is the Host object. What a sync does not know of it stays in it.
type Object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
	// Status is the server's, and not sent back.
	Status json.RawMessage `json:"status,omitempty"`

	// rest is what of the document has no field here; never changed.
	rest map[string]any
}

// Metadata is the object's name and what people and programs pinned to it.
type Metadata struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// CreationTimestamp is the server's, and not sent back.
	CreationTimestamp string `json:"creationTimestamp,omitempty"`
}

// Spec is the machine, and where that is known from.
type Spec struct {
	registry.Host
	AssetID string `json:"assetID,omitempty"`
	Source  Source `json:"source,omitzero"`
}

// Source is who wrote a host last. A host belongs to the source of that name.
type Source struct {
	Name string `json:"name,omitempty"`
	Run  string `json:"run,omitempty"`
	Time string `json:"time,omitempty"` // RFC 3339
}

// Clone is a copy that can be changed. What is unknown in it is shared: nobody
// changes that.
func (o *Object) Clone() *Object {
	c := *o
	c.Metadata.Labels = maps.Clone(o.Metadata.Labels)
	c.Metadata.Annotations = maps.Clone(o.Metadata.Annotations)
	c.Spec.Labels = maps.Clone(o.Spec.Labels)
	c.Spec.Addresses = slices.Clone(o.Spec.Addresses)
	return &c
}

// Leaving is whether the machine is on its way out of the mesh.
func (o *Object) Leaving() bool {
	return o.Metadata.Annotations[AbsentSince] != "" || o.Metadata.Annotations[RetiredSince] != ""
}

// plain is Object without its methods.
type plain Object

// UnmarshalJSON keeps what the type has no field for, and drops what is the
// server's.
func (o *Object) UnmarshalJSON(data []byte) error {
	err := o.decode(data)
	o.Status, o.Metadata.CreationTimestamp = nil, ""
	return err
}

func (o *Object) decode(data []byte) error {
	var p plain
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&p) == nil {
		*o = Object(p)
		return nil
	}
	p = plain{}
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("host object: %w", err)
	}
	*o = Object(p)
	dec = json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&o.rest); err != nil {
		return fmt.Errorf("host object: %w", err)
	}
	if o.rest = unknown(o.rest, knownKeys); len(o.rest) == 0 {
		o.rest = nil
	}
	return nil
}

// MarshalJSON lays the known fields over the unknown ones.
func (o *Object) MarshalJSON() ([]byte, error) {
	known, err := Marshal((*plain)(o))
	if err != nil || o.rest == nil {
		return known, err
	}
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(known))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	return Marshal(overlay(maps.Clone(o.rest), doc))
}

// Marshal is json.Marshal without HTML's escapes, which make text up to six
// times as long.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// keys is the tree of the document's known keys; a nil leaf is known whole.
type keys map[string]keys

var knownKeys = keys{
	"apiVersion": nil, "kind": nil, "status": nil,
	"metadata": {"name": nil, "labels": nil, "annotations": nil, "creationTimestamp": nil},
	"spec": {
		"key": nil, "name": nil, "assetID": nil, "network": nil, "addresses": nil, "status": nil, "labels": nil,
		"locality": {"region": nil, "zone": nil, "subzone": nil},
		"source":   {"name": nil, "run": nil, "time": nil},
	},
}

// unknown is the part of doc that known does not name.
func unknown(doc map[string]any, known keys) map[string]any {
	rest := map[string]any{}
	for key, value := range doc {
		below, ok := known[key]
		inner, isMap := value.(map[string]any)
		switch {
		case !ok:
			rest[key] = value
		case below != nil && isMap:
			if r := unknown(inner, below); len(r) > 0 {
				rest[key] = r
			}
		}
	}
	return rest
}

// overlay lays over over under, which it changes but for the maps in it.
func overlay(under, over map[string]any) map[string]any {
	for key, value := range over {
		u, uIsMap := under[key].(map[string]any)
		o, oIsMap := value.(map[string]any)
		if uIsMap && oIsMap {
			value = overlay(maps.Clone(u), o)
		}
		under[key] = value
	}
	return under
}
