package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// guard refuses what only a browser sends on behalf of a web page:
//
//   - A Host that is a name we do not know. In DNS rebinding a page's own name
//     is made to resolve to 127.0.0.1; the browser then takes this port for the
//     page's origin and lets the page read the answers. Such a request still
//     carries the page's name, while a person or a program asks by address or
//     by localhost.
//   - A change (PUT, POST) that comes from another origin. The browser keeps
//     the answer from the page, but the change would be made.
func (h *handlers) guard(names []string) gin.HandlerFunc {
	crossOrigin := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if !knownHost(c.Request.Host, names) {
			h.log.Warn("refused a request for a foreign host", "host", clip(c.Request.Host), "peer", c.Request.RemoteAddr)
			refuse(c, http.StatusForbidden, "foreign_host", fmt.Sprintf(
				"%q is neither an IP address nor localhost nor a host that the admin port was configured for (a protection against DNS rebinding)",
				clip(c.Request.Host)))
			return
		}
		if err := crossOrigin.Check(c.Request); err != nil {
			h.log.Warn("refused a request from a foreign origin", "origin", clip(c.GetHeader("Origin")), "peer", c.Request.RemoteAddr)
			refuse(c, http.StatusForbidden, "foreign_origin", "a change must not come from a page of another origin: "+err.Error())
		}
	}
}

// knownHost judges a Host header, with or without a port. An HTTP/1.0 request
// may have none; browsers always send one.
func knownHost(host string, names []string) bool {
	if host == "" {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) }) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// recoverPanic answers 500 where a source panics: the admin port must not end the
// process that it is asked about.
func (h *handlers) recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so too
			panic(v)
		}
		h.log.Error("admin handler panicked", "path", c.Request.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		refuse(c, http.StatusInternalServerError, "internal", "this page failed; the log has the details")
	}()
	c.Next()
}

// clip keeps what a stranger sent from filling the log.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
