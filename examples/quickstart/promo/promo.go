// Package promo holds the quickstart's PHP service, so that the demo is one
// program to carry around.
package promo

import _ "embed" // for Script

// Script is promo.php.
//
//go:embed promo.php
var Script []byte
