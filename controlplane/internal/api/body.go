package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

// applyRequest is the body of an apply, decoded and checked.
type applyRequest struct {
	Base     string
	Run      string
	DryRun   bool
	batch    store.Batch
	mistakes int
	details  []Detail          // the first of them
	seen     map[string]string // by key: the path of the first
	kind     object.Kind
}

// maxRun bounds the id of a run, which ends up in the log.
const maxRun = 256

// checkJSON refuses bodies that are not said to be JSON. That is also what
// keeps web pages from sending any: a browser asks before it sends JSON to
// another site, and nobody answers.
func checkJSON(c *gin.Context) error {
	mediaType, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return failure(http.StatusUnsupportedMediaType, ReasonMediaType, "the Content-Type must be application/json")
	}
	return nil
}

// decodeApply reads the body of an apply as a stream, one object at a time:
// what is held in memory is what will be stored.
func decodeApply(body io.Reader, kind object.Kind) (*applyRequest, error) {
	r := &applyRequest{kind: kind, seen: map[string]string{}}
	d := json.NewDecoder(body)
	if err := r.decode(d); err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return nil, err
		}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, badRequest("the body ends in the middle, after %d bytes", d.InputOffset())
		}
		return nil, badRequest("the body is wrong at byte %d: %v", d.InputOffset(), err)
	}
	if r.mistakes > 0 {
		return nil, invalid(r.mistakes, r.details)
	}
	return r, nil
}

func (r *applyRequest) decode(d *json.Decoder) error {
	if err := expect(d, '{'); err != nil {
		return err
	}
	given := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // an object's keys are strings
		if given[key] {
			return badRequest("%q is given twice", key)
		}
		given[key] = true
		if err := r.field(d, key); err != nil {
			return err
		}
	}
	if err := expect(d, '}'); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("something follows the end of the body")
	}
	return nil
}

func (r *applyRequest) field(d *json.Decoder, key string) error {
	switch key {
	case "base":
		return scalar(d, key, &r.Base)
	case "run":
		if err := scalar(d, key, &r.Run); err != nil {
			return err
		}
		if len(r.Run) > maxRun {
			return badRequest("run is longer than %d bytes", maxRun)
		}
		return nil
	case "dryRun":
		return scalar(d, key, &r.DryRun)
	case "put":
		return each(d, key, func(i int, raw json.RawMessage) error {
			r.put(fmt.Sprintf("put[%d]", i), raw)
			return nil
		})
	case "delete":
		return each(d, key, func(i int, raw json.RawMessage) error {
			r.remove(fmt.Sprintf("delete[%d]", i), raw)
			return nil
		})
	}
	return badRequest("unknown key %.100q: known are base, delete, dryRun, put and run", key)
}

// put takes one object.
func (r *applyRequest) put(at string, raw []byte) {
	doc, err := object.ParseJSON(at, raw)
	if err != nil {
		for _, d := range details(at, err) {
			r.note(d)
		}
		return
	}
	m := doc.Object.Metadata()
	if m.Kind != r.kind.Name {
		r.add(joinPath(at, "kind"), "%q is not what this collection holds: it is %s", m.Kind, r.kind.Name)
		return
	}
	if first, ok := r.seen[m.Key()]; ok {
		r.add(joinPath(at, "metadata.name"), "%s is %s already", m.ID, first)
		return
	}
	r.seen[m.Key()] = at
	value, err := doc.Canonical()
	if err != nil {
		r.add(at, "%v", err)
		return
	}
	r.batch.Put = append(r.batch.Put, store.Put{Key: m.Key(), Value: value})
}

// remove takes one key.
func (r *applyRequest) remove(at string, raw []byte) {
	var key string
	if err := json.Unmarshal(raw, &key); err != nil || string(raw) == "null" {
		r.add(at, "expected a string, found %.100s", raw)
		return
	}
	id, err := r.kind.ParseKey(key)
	if err != nil {
		r.add(at, "%v", err)
		return
	}
	if first, ok := r.seen[id.Key()]; ok {
		r.add(at, "%s is %s already", id, first)
		return
	}
	r.seen[id.Key()] = at
	r.batch.Delete = append(r.batch.Delete, id.Key())
}

func (r *applyRequest) add(path, format string, args ...any) {
	r.note(Detail{Path: path, Message: fmt.Sprintf(format, args...)})
}

// note counts a mistake, and keeps it if it is one of the first.
func (r *applyRequest) note(d Detail) {
	if r.mistakes++; r.mistakes <= maxDetails {
		r.details = append(r.details, d)
	}
}

// scalar decodes a value of v's type.
func scalar(d *json.Decoder, key string, v any) error {
	err := d.Decode(v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return badRequest("%s: expected a %s, found a %s", key, wrong.Type, wrong.Value)
	}
	return err
}

// each decodes a list item by item; null is an empty one.
func each(d *json.Decoder, key string, item func(int, json.RawMessage) error) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token == nil {
		return nil
	}
	if token != json.Delim('[') {
		return badRequest("%s: expected a list", key)
	}
	for i := 0; d.More(); i++ {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if err := item(i, raw); err != nil {
			return err
		}
	}
	return expect(d, ']')
}

func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != want {
		return badRequest("the body must be a JSON object")
	}
	return nil
}
