// Package xds is the room between the model and its clients: translate makes
// xDS resources of the model, serve keeps them and serves the streams. It has
// no code of its own; its tests run the built control plane from outside.
package xds
