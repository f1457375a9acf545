package shop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// AccessLine is what is looked at of a line of a sidecar's access log.
type AccessLine struct {
	Direction string `json:"direction"`
	Service   string `json:"service"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Reason    string `json:"reason"`
	RequestID string `json:"request_id"`
	TraceID   string `json:"trace_id"`
}

// AccessLog is what the access log of an instance's sidecar, or of the gateway,
// says of one request. A line that is only half written yet is left out.
func (s *Shop) AccessLog(name, requestID string) ([]AccessLine, error) {
	if name != "gateway" {
		name += ".sidecar"
	}
	b, err := os.ReadFile(filepath.Join(s.Dir(), "logs", name+".log"))
	if err != nil {
		return nil, fmt.Errorf("access log of %s: %w", name, err)
	}
	var lines []AccessLine
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l AccessLine
		if json.Unmarshal(scan.Bytes(), &l) == nil && l.Direction != "" && l.RequestID == requestID {
			lines = append(lines, l)
		}
	}
	return lines, scan.Err()
}
