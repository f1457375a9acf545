// Package config holds the quickstart's configuration files. They are whole
// examples with the default ports: each can be checked and run by hand. The
// demo runs them as they are, but for ports that are taken on this machine.
package config

import "embed"

// Files are the files of this folder.
//
//go:embed *.yaml *.csv objects/*.yaml
var Files embed.FS
