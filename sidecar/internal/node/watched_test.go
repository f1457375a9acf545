package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a file that is looked at, by the clock of a synctest bubble.
type watched struct {
	*testing.T
	reloader
}

func watch(t *testing.T) *watched {
	w := &watched{T: t}
	path := filepath.Join(t.TempDir(), "sidecar.yaml")
	w.path = path
	w.put("a: 1\n")
	w.follow(path)
	return w
}

// put writes the file in place.
func (w *watched) put(content string) {
	w.Helper()
	if err := os.WriteFile(w.path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

// look is the next look that is due.
func (w *watched) look() bool {
	time.Sleep(reloadEvery)
	return w.due(false)
}

// never says what is wrong where one of the next looks finds the file due.
func (w *watched) never(wrong string) {
	w.Helper()
	for range 3 {
		if w.look() {
			w.Error(wrong)
		}
	}
}

func TestAFileThatIsWrittenInPlaceIsNotReadHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		if w.look() {
			t.Error("a file that has not changed is due")
		}
		w.put("a: 2\n")
		if w.look() {
			t.Error("it is due at the first look")
		}
		w.put("a: 2\nb: 2\n")
		if !w.look() {
			t.Error("it is not due at the second look")
		}
		w.never("it is due again, and has not changed")
	})
}

func TestALookThatComesEarlyDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.put("a: 20\n")
		if w.look() || w.due(false) {
			t.Error("two looks at one moment are taken for two")
		}
		if !w.look() {
			t.Error("it is not due in the end")
		}
	})
}

func TestAFileThatChangesAllTheTimeIsReadStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		reads := 0
		for i := range 20 {
			w.put(fmt.Sprintf("a: %0*d\n", i+2, i))
			if w.look() {
				reads++
			}
		}
		if reads != 10 {
			t.Errorf("%d reads in 20 looks, want 10", reads)
		}
	})
}

func TestAFileThatComesBackIsNotTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.put("a: 20\n")
		_ = w.look()
		w.put("") // somebody begins to write it anew
		if w.look() {
			t.Error("an empty file is due")
		}
		w.put("a: 300\n")
		if w.look() {
			t.Error("it is due at the first look")
		}
		if !w.look() {
			t.Error("it is not due at the second look")
		}
	})
}

func TestASignalHasTheFileReadAtOnceAndOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.put("a: 20\n")
		if !w.due(true) {
			t.Error("it is not read although that was asked for")
		}
		w.never("it is read once more")
	})
}
