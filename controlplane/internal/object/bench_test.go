package object_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
)

const machine = `{"apiVersion":"mesh.outrigger.dev/v1alpha1","kind":"Host","metadata":{"name":"netbox-17"},"spec":{` +
	`"key":"17","name":"vm-17","assetID":"A-0017","network":"default","addresses":["10.0.3.7","10.0.4.7"],` +
	`"locality":{"region":"bj","zone":"bj-2","subzone":"r7"},"status":"up","labels":{"env":"prod","owner":"shop"},` +
	`"source":{"name":"netbox","run":"r1","time":"2026-01-01T00:00:00Z"}}}`

func BenchmarkParseAHostOfJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := object.ParseJSON("put[0]", []byte(machine)); err != nil {
			b.Fatal(err)
		}
	}
}
