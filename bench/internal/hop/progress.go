package hop

import (
	"fmt"
	"io"
	"time"
)

// progress tells a person what runs now and how long all of it will take.
type progress struct {
	w        io.Writer
	terminal bool
	left     time.Duration // of the steps that have not begun
	stage    string
}

// step says that a step begins which takes about d.
func (p *progress) step(d time.Duration, stage, what string) {
	if p.terminal {
		// Return, the text, and erase to the end of the line.
		fmt.Fprintf(p.w, "\r%s: %s, %v left\x1b[K", stage, what, p.left.Round(time.Second))
	} else if stage != p.stage {
		fmt.Fprintf(p.w, "%s, %v left\n", stage, p.left.Round(time.Second))
	}
	p.stage = stage
	p.left = max(0, p.left-d)
}

// end leaves the terminal's line empty.
func (p *progress) end() {
	if p.terminal && p.stage != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	p.end()
	fmt.Fprintf(p.w, format+"\n", args...)
}
