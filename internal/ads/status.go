package ads

import (
	"sync"
	"time"
)

// Status is what a client can say of itself.
type Status struct {
	Server    string    `json:"server"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"` // when Connected last changed
	// LastUpdate is when the last response came; zero if none did.
	LastUpdate time.Time    `json:"lastUpdate,omitzero"`
	Reconnects uint64       `json:"reconnects"` // streams after the first
	Updates    uint64       `json:"updates"`    // responses
	NackCount  uint64       `json:"nackCount"`  // resources refused
	LastError  string       `json:"lastError,omitempty"`
	Types      []TypeStatus `json:"types,omitempty"`
	Nacks      []Nack       `json:"nacks,omitempty"` // the last ones, oldest first
}

// TypeStatus counts one resource type.
type TypeStatus struct {
	Type       string `json:"type"`
	Subscribed int    `json:"subscribed"` // names
	Held       int    `json:"held"`       // resources
}

// Nack is a resource that was refused.
type Nack struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	Reason  string    `json:"reason"`
}

// state is the changing part of Status.
type state struct {
	mu      sync.Mutex
	s       Status
	streams uint64
}

func (st *state) connected(now time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Connected, st.s.Since, st.s.LastError = true, now, ""
	if st.streams > 0 {
		st.s.Reconnects++
	}
	st.streams++
}

func (st *state) disconnected(now time.Time, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s.Connected || st.s.Since.IsZero() {
		st.s.Connected, st.s.Since = false, now
	}
	if err != nil {
		st.s.LastError = err.Error()
	}
}

func (st *state) updated(now time.Time, nacks []Nack) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.LastUpdate = now
	st.s.Updates++
	st.s.NackCount += uint64(len(nacks))
	st.s.Nacks = append(st.s.Nacks, nacks...)
	if over := len(st.s.Nacks) - maxNacks; over > 0 {
		st.s.Nacks = append([]Nack(nil), st.s.Nacks[over:]...)
	}
}

func (st *state) status() Status {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.s
	s.Nacks = append([]Nack(nil), s.Nacks...)
	return s
}
