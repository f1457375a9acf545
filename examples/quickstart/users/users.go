// Package users holds the quickstart's Python service, so that the demo is one
// program to carry around.
package users

import _ "embed" // for Script

// Script is users.py.
//
//go:embed users.py
var Script []byte
