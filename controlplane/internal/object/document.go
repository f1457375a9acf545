package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Document is an object and the text that it was read from.
type Document struct {
	Object Object
	// Node is what was written, for places and for Canonical.
	Node conf.Node
}

// ParseDocuments is Parse that keeps the documents. A list, as servers print
// several objects (kind: List with items), stands for its items.
func ParseDocuments(name string, data []byte) ([]Document, error) {
	nodes, err := conf.ParseAll(name, data)
	if err != nil {
		return nil, err
	}
	var docs []Document
	var errs []error
	for _, n := range nodes {
		if n.IsZero() || n.Kind() == conf.Null {
			continue
		}
		items := []conf.Node{n}
		if n.Field("kind").Text() == "List" && n.Field("items").Kind() == conf.List {
			items = n.Field("items").Items()
		}
		for _, item := range items {
			o, err := Decode(item)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			docs = append(docs, Document{Object: o, Node: item})
		}
	}
	if err := conf.Join(errs...); err != nil {
		return nil, err
	}
	return docs, nil
}

// ParseJSON reads one object of JSON. The name stands for the file in places.
func ParseJSON(name string, data []byte) (Document, error) {
	n, err := conf.ParseJSON(name, data)
	if err != nil {
		return Document{}, err
	}
	o, err := Decode(n)
	if err != nil {
		return Document{}, err
	}
	return Document{Object: o, Node: n}, nil
}

// Stored is an object as it is kept and shown: what its author wrote, without
// what a server adds. Its fields are in the order in which they are shown.
type Stored struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   StoredMetadata  `json:"metadata"`
	Spec       json.RawMessage `json:"spec"`
	// Status is what the server says of the object; nothing is stored of it.
	Status any `json:"status,omitempty"`
}

// StoredMetadata is the metadata that an author has a say in, and the
// creation, which is shown and not stored.
type StoredMetadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
	CreationTimestamp string            `json:"creationTimestamp,omitempty"` // RFC 3339
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
}

// Canonical is the JSON that is stored of the document: two that say the same
// in the same words, whatever their order and layout, are the same bytes.
func (d Document) Canonical() ([]byte, error) {
	m := d.Object.Metadata()
	s := Stored{
		APIVersion: d.Node.Field("apiVersion").Text(), Kind: m.Kind,
		Metadata: StoredMetadata{Name: m.Name, Namespace: m.Namespace, Labels: m.Labels, Annotations: m.Annotations},
	}
	var err error
	if s.Spec, err = marshal(d.Node.Field("spec").Value()); err != nil {
		return nil, fmt.Errorf("encode the spec of %s: %w", m.ID, err)
	}
	data, err := marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ID, err)
	}
	return data, nil
}

// marshal is json.Marshal that leaves <, > and & as they are: nobody embeds
// this in HTML.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// DecodeStored reads an object back from what Canonical made of it.
func DecodeStored(kind Kind, key string, data []byte) (Object, error) {
	d, err := ParseJSON("store/"+kind.Plural+"/"+key, data)
	if err != nil {
		return nil, err
	}
	if id := d.Object.Metadata().ID; id.Kind != kind.Name || id.Key() != key {
		return nil, errors.New("what is stored as " + kind.Name + " " + key + " is " + id.String())
	}
	return d.Object, nil
}
