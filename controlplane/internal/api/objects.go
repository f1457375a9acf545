package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/registry"
)

const (
	// maxPage is how many objects a page of a listing has at most, and unless
	// told otherwise.
	maxPage = 1000
	// maxApplies is how many applies are worked on at once; others wait. It
	// bounds the memory that they take together.
	maxApplies = 2
)

// objects serves the collections of the store.
type objects struct {
	log       *slog.Logger
	store     store.Collections
	elsewhere func(object.ID) (mesh.Holder, bool)
	applies   chan struct{}
}

func newObjects(o Options) *objects {
	return &objects{
		log: o.Logger.With("component", "api"), store: o.Store, elsewhere: o.Elsewhere,
		applies: make(chan struct{}, maxApplies),
	}
}

// register adds the paths of the collections.
func (o *objects) register(e *gin.Engine) {
	handle := func(f func(*gin.Context) error) gin.HandlerFunc {
		return func(c *gin.Context) {
			if err := f(c); err != nil {
				fail(c, err)
			}
		}
	}
	e.GET("/v1/:kind", handle(o.list))
	e.GET("/v1/:kind/*key", handle(o.get))
	e.POST("/v1/:kind", handle(o.apply))
	e.DELETE("/v1/:kind/*key", handle(o.remove))
}

// ObjectStatus is what the control plane says of a stored object.
type ObjectStatus struct {
	Revision   string      `json:"revision"` // of the collection, when the object last changed
	Conditions []Condition `json:"conditions"`
}

// Condition is one thing that is so or is not, in the form that Kubernetes has
// for it.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"` // True or False
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// List is a page of a collection.
type List struct {
	Revision string           `json:"revision"`
	Items    []*object.Stored `json:"items"`
	// Next is the key to ask for the next page with (after, and revision); empty
	// on the last one.
	Next string `json:"next"`
}

// Applied is what an apply has done.
type Applied struct {
	Revision  string `json:"revision"`
	Changed   int    `json:"changed"`
	Unchanged int    `json:"unchanged"`
	Deleted   int    `json:"deleted"`
	DryRun    bool   `json:"dryRun,omitempty"`
	// Warnings are what is true of the objects that were put and may surprise.
	Warnings []string `json:"warnings,omitempty"`
}

func formatRevision(r store.Revision) string { return strconv.FormatUint(uint64(r), 10) }

func parseRevision(s string) (store.Revision, error) {
	r, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a revision", s)
	}
	return store.Revision(r), nil
}

// kindOf finds the collection of a request.
func kindOf(plural string) (object.Kind, error) {
	k, ok := object.KindOf(plural)
	if !ok || k.Plural != plural {
		return k, failure(http.StatusNotFound, ReasonNotFound,
			"there is nothing of the name %.40q; / lists what there is", plural)
	}
	return k, nil
}

// idOf is the object that a request is about.
func idOf(c *gin.Context, key string) (object.Kind, object.ID, error) {
	k, err := kindOf(c.Param("kind"))
	if err != nil {
		return k, object.ID{}, err
	}
	id, err := k.ParseKey(strings.TrimPrefix(key, "/"))
	if err != nil {
		return k, id, failure(http.StatusNotFound, ReasonNotFound, "there is no such %s: %v", k.Name, err)
	}
	return k, id, nil
}

func (o *objects) list(c *gin.Context) error {
	k, err := kindOf(c.Param("kind"))
	if err != nil {
		return err
	}
	opts := store.ListOptions{After: c.Query("after"), Limit: maxPage}
	if ns := c.Query("namespace"); ns != "" {
		if k.Global {
			return badRequest("namespace: a %s has none", k.Name)
		}
		if err := registry.CheckName(ns); err != nil {
			return badRequest("namespace: %v", err)
		}
		opts.Prefix = ns + "/"
	}
	if limit := c.Query("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > maxPage {
			return badRequest("limit: %.40q is not a number from 1 to %d", limit, maxPage)
		}
		opts.Limit = n
	}
	if r := c.Query("revision"); r != "" {
		if opts.At, err = parseRevision(r); err != nil {
			return badRequest("revision: %v", err)
		}
	}
	page, err := o.store.List(c.Request.Context(), k.Plural, opts)
	if err != nil {
		return err
	}
	out := List{Revision: formatRevision(page.Revision), Items: make([]*object.Stored, 0, len(page.Items))}
	for _, item := range page.Items {
		s, err := o.show(k, item)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, s)
	}
	if page.More {
		out.Next = page.Items[len(page.Items)-1].Key
	}
	c.JSON(http.StatusOK, out)
	return nil
}

func (o *objects) get(c *gin.Context) error {
	k, id, err := idOf(c, c.Param("key"))
	if err != nil {
		return err
	}
	item, err := o.store.Get(c.Request.Context(), k.Plural, id.Key())
	if err != nil {
		return o.missing(id, err)
	}
	s, err := o.show(k, item)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, s)
	return nil
}

// missing says of an object that is not in the store where it is instead.
func (o *objects) missing(id object.ID, err error) error {
	e := asError(err)
	if e.Reason == ReasonNotFound {
		e.Message = fmt.Sprintf("there is no %s in the store", id)
		if h, ok := o.elsewhere(id); ok {
			e.Message += fmt.Sprintf("; %s has it", h.Pos)
		}
	}
	return e
}

// show is a stored object as it is shown: with its creation and status.
func (o *objects) show(k object.Kind, item store.Item) (*object.Stored, error) {
	s := &object.Stored{}
	if err := json.Unmarshal(item.Value, s); err != nil {
		return nil, failure(http.StatusInternalServerError, ReasonInternal, "what is stored as %s %s cannot be read: %v", k.Name, item.Key, err)
	}
	s.Metadata.CreationTimestamp = item.Created.Truncate(time.Second).Format(time.RFC3339)
	s.Status = ObjectStatus{
		Revision:   formatRevision(item.Revision),
		Conditions: []Condition{o.programmed(object.ID{Kind: k.Name, Namespace: s.Metadata.Namespace, Name: s.Metadata.Name})},
	}
	return s, nil
}

// programmed says whether the stored object is the one in force.
func (o *objects) programmed(id object.ID) Condition {
	if h, ok := o.elsewhere(id); ok {
		return Condition{
			Type: "Programmed", Status: "False", Reason: "Shadowed",
			Message: fmt.Sprintf("%s has the same object, and files hold", h.Pos),
		}
	}
	return Condition{Type: "Programmed", Status: "True", Reason: "Programmed"}
}

// apply makes a change. It leaves one line in the log, whatever becomes of it.
func (o *objects) apply(c *gin.Context) error {
	plural, verb, ok := strings.Cut(c.Param("kind"), ":")
	if slices.Contains(views, plural) {
		c.Header("Allow", http.MethodGet)
		return failure(http.StatusMethodNotAllowed, ReasonMethod, "/v1/%s shows what is: it is not written to", plural)
	}
	k, err := kindOf(plural)
	switch {
	case err != nil:
		return err
	case !ok:
		c.Header("Allow", http.MethodGet)
		return failure(http.StatusMethodNotAllowed, ReasonMethod, "objects are written by POST /v1/%s:apply", plural)
	case verb != "apply":
		return failure(http.StatusNotFound, ReasonNotFound, "%.40q cannot be done with %s: apply can", verb, plural)
	}
	select {
	case o.applies <- struct{}{}:
		defer func() { <-o.applies }()
	case <-c.Request.Context().Done():
		return c.Request.Context().Err()
	}
	request := &applyRequest{}
	var out Applied
	if err = checkJSON(c); err == nil {
		var decoded *applyRequest
		if decoded, err = decodeApply(c.Request.Body, k); err == nil {
			request = decoded
			out, err = o.make(c.Request.Context(), k, request)
		}
	}
	o.audit(c, "apply", err, "collection", k.Plural, "run", request.Run, "base", request.Base, "dry_run", request.DryRun,
		"revision", out.Revision, "changed", out.Changed, "unchanged", out.Unchanged, "deleted", out.Deleted)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, out)
	return nil
}

func (o *objects) make(ctx context.Context, k object.Kind, r *applyRequest) (Applied, error) {
	b := r.batch
	b.DryRun = r.DryRun
	if r.Base != "" {
		base, err := parseRevision(r.Base)
		if err != nil {
			return Applied{}, badRequest("base: %v", err)
		}
		b.Base = &base
	}
	applied, err := o.store.Apply(ctx, k.Plural, b)
	if err != nil {
		return Applied{}, err
	}
	out := Applied{
		Revision: formatRevision(applied.Revision), Changed: applied.Changed, Unchanged: applied.Unchanged,
		Deleted: applied.Deleted, DryRun: r.DryRun,
	}
	for _, p := range b.Put {
		id, err := k.ParseKey(p.Key)
		if err != nil {
			continue // it was decoded from an object: it has a key
		}
		if h, ok := o.elsewhere(id); ok && len(out.Warnings) < maxDetails {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s is not in force: %s has the same object, and files hold", id, h.Pos))
		}
	}
	return out, nil
}

func (o *objects) remove(c *gin.Context) error {
	k, id, err := idOf(c, c.Param("key"))
	if err != nil {
		return err
	}
	applied, err := o.store.Apply(c.Request.Context(), k.Plural, store.Batch{Delete: []string{id.Key()}})
	if err == nil && applied.Deleted == 0 {
		err = o.missing(id, store.ErrNotFound)
	}
	o.audit(c, "delete", err, "collection", k.Plural, "key", id.Key(), "revision", formatRevision(applied.Revision), "deleted", applied.Deleted)
	if err != nil {
		return err
	}
	c.JSON(http.StatusOK, Applied{Revision: formatRevision(applied.Revision), Deleted: applied.Deleted})
	return nil
}

// audit writes the line that every write leaves.
func (o *objects) audit(c *gin.Context, action string, err error, args ...any) {
	args = append([]any{"action", action, "peer", c.Request.RemoteAddr, "user_agent", c.Request.UserAgent()}, args...)
	if err == nil {
		o.log.Info("audit", append(args, "outcome", "done")...)
		return
	}
	e := asError(err)
	message := e.Message
	if len(e.Details) > 0 {
		message += fmt.Sprintf(": %s: %s", cmp.Or(e.Details[0].Path, "the body"), e.Details[0].Message)
	}
	o.log.Warn("audit", append(args, "outcome", "refused", "reason", string(e.Reason), "error", message)...)
}
