package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/gin-gonic/gin"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Reason is why a request was not done, as one fixed word that programs can
// act on.
type Reason string

// The reasons.
const (
	ReasonBadRequest  Reason = "bad_request"        // the request itself is wrong: 400
	ReasonForbidden   Reason = "forbidden"          // it came by way of a web page: 403
	ReasonNotFound    Reason = "not_found"          // there is no such path, collection or object: 404
	ReasonMethod      Reason = "method_not_allowed" // 405
	ReasonStaleBase   Reason = "stale_base"         // the collection is past the base: 409
	ReasonCompacted   Reason = "compacted"          // the revision is not kept: 410
	ReasonTooLarge    Reason = "too_large"          // 413
	ReasonMediaType   Reason = "media_type"         // what is sent is not said to be JSON: 415
	ReasonInvalid     Reason = "invalid"            // objects are wrong: 422, with details
	ReasonInternal    Reason = "internal"           // 500
	ReasonUnavailable Reason = "unavailable"        // the store failed, or the control plane is stopping: 503
)

// Detail is one mistake in what was sent.
type Detail struct {
	Path    string `json:"path"` // such as put[3].spec.ports[0].name; empty: the whole
	Message string `json:"message"`
}

// Error is the body of every answer that is not a success.
type Error struct {
	Status   int      `json:"-"`
	Message  string   `json:"error"`
	Reason   Reason   `json:"reason"`
	Revision string   `json:"revision,omitempty"` // the collection's, where the base was stale
	Details  []Detail `json:"details,omitempty"`
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

func failure(status int, reason Reason, format string, args ...any) *Error {
	return &Error{Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Error {
	return failure(http.StatusBadRequest, ReasonBadRequest, format, args...)
}

// invalid refuses objects; details has the first of the mistakes.
func invalid(mistakes int, details []Detail) *Error {
	e := failure(http.StatusUnprocessableEntity, ReasonInvalid, "%d mistakes", mistakes)
	switch {
	case mistakes == 1:
		e.Message = "1 mistake"
	case mistakes > len(details):
		e.Message += fmt.Sprintf(", the first %d are listed", len(details))
	}
	e.Details = details
	return e
}

// maxDetails bounds an answer: who sends 100,000 wrong objects has one mistake.
const maxDetails = 100

// asError is the answer that an error stands for.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return failure(http.StatusRequestEntityTooLarge, ReasonTooLarge,
			"the body is larger than %v: send it in several requests", conf.Size(tooLarge.Limit))
	}
	if stale, ok := errors.AsType[*store.StaleError](err); ok {
		e := failure(http.StatusConflict, ReasonStaleBase, "the collection is at revision %d: read it again", stale.Revision)
		e.Revision = formatRevision(stale.Revision)
		return e
	}
	switch {
	case errors.Is(err, store.ErrCompacted):
		return failure(http.StatusGone, ReasonCompacted, "the revision is not kept: list again without one")
	case errors.Is(err, store.ErrNotFound):
		return failure(http.StatusNotFound, ReasonNotFound, "there is no such object")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrClosed):
		return failure(http.StatusServiceUnavailable, ReasonUnavailable, "the request was given up: %v", err)
	}
	return failure(http.StatusServiceUnavailable, ReasonUnavailable, "the store failed: %v", err)
}

func fail(c *gin.Context, err error) {
	e := asError(err)
	c.AbortWithStatusJSON(e.Status, e)
}

// pathPrefix is how the messages of conf begin where they are about something
// inside of the document.
var pathPrefix = regexp.MustCompile(`^((?:[\w$/-]+|\["(?:[^"\\]|\\.)*"\]|\[\d+\])(?:\.[\w$/-]+|\["(?:[^"\\]|\\.)*"\]|\[\d+\])*): `)

// details are the mistakes of an object that stands at a path of the request.
func details(at string, err error) []Detail {
	mistakes, ok := errors.AsType[conf.Errors](err)
	if !ok {
		if one, ok := errors.AsType[*conf.Error](err); ok {
			mistakes = conf.Errors{one}
		} else {
			return []Detail{{Path: at, Message: err.Error()}}
		}
	}
	var all []Detail
	for _, m := range mistakes {
		d := Detail{Path: at, Message: m.Msg}
		if found := pathPrefix.FindStringSubmatch(m.Msg); found != nil {
			d.Message = m.Msg[len(found[0]):]
			d.Path = joinPath(at, found[1])
		}
		all = append(all, d)
	}
	return all
}

func joinPath(at, rel string) string {
	if at == "" || rel[0] == '[' {
		return at + rel
	}
	return at + "." + rel
}
