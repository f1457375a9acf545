// Package secure is TLS for the sidecar (RFC 8446, RFC 5246): certificates and
// the authorities that are trusted, both of which change while the program
// runs; the server's side for listeners, the client's side for connections to
// endpoints; and who the peer is.
//
// What certificates and trust are now is asked of a Source at each handshake.
// Files are such a source: they are read again when they change, and what holds
// a mistake changes nothing. So a renewed certificate needs no new listener and
// ends no connection.
//
// Everything that is handed out is immutable, and may be used from anywhere.
package secure
