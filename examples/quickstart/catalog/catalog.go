// Package catalog holds the quickstart's Node.js service, so that the demo is
// one program to carry around.
package catalog

import _ "embed" // for Script

// Script is catalog.js.
//
//go:embed catalog.js
var Script []byte
