package ratelimit

import (
	"fmt"
	"strings"
	"testing"
)

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	const place = "middleware.yaml:1:%d: [0].ratelimit."
	tests := map[string]struct {
		config string
		col    int
		want   string
	}{
		"no unit":           {"{rate: 1000}", 21, `rate: expected a number of requests and their unit of time, such as 1000/s, 600/m or 20/h, found "1000"`},
		"unknown unit":      {"{rate: 10/d}", 21, `rate: expected a number of requests and their unit of time`},
		"no number":         {"{rate: /s}", 21, `rate: expected a number of requests and their unit of time`},
		"a sign":            {"{rate: +1/s}", 21, `rate: expected a number of requests and their unit of time`},
		"a fraction":        {"{rate: 0.5/s}", 21, `rate: expected a number of requests and their unit of time`},
		"nothing":           {"{rate: 0/s}", 21, `rate: expected 1 to 10000000 requests, found 0`},
		"negative":          {"{rate: -1/s}", 21, `rate: expected 1 to 10000000 requests, found -1`},
		"too much":          {"{rate: 10000001/s}", 21, `rate: expected 1 to 10000000 requests, found 10000001`},
		"far too much":      {"{rate: 99999999999999999999/s}", 21, `rate: expected 1 to 10000000 requests, found 99999999999999999999`},
		"a map as rate":     {"{rate: {}}", 21, `rate: expected a string, found a map`},
		"negative burst":    {"{burst: -1}", 22, `burst: expected 0 to 10000000, found -1`},
		"endless burst":     {"{rate: 1/h, burst: 10000000}", 33, `burst: 10000000 requests at 1/h take more than a hundred years: expected 1281023 at most`},
		"unknown key":       {"{key: cookie}", 20, `key: expected none, source, path or {header: name}`},
		"a list as key":     {"{key: [source]}", 20, `key: expected none, source, path or {header: name}`},
		"header alone":      {"{key: header}", 20, `key: expected none, source, path or {header: name}`},
		"no header":         {"{key: {}}", 20, `key.header: expected the name of a field, found ""`},
		"no field name":     {"{key: {header: a b}}", 20, `key.header: expected the name of a field, found "a b"`},
		"unknown in key":    {"{key: {heder: a}}", 21, `key: unknown key "heder", did you mean "header"?`},
		"no keys":           {"{maxKeys: 0}", 24, `maxKeys: expected 1 to 1048576, found 0`},
		"too many keys":     {"{maxKeys: 1048577}", 24, `maxKeys: expected 1 to 1048576, found 1048577`},
		"unknown responses": {"{headers: yes}", 24, `headers: expected refused, always or never, found "yes"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := fmt.Sprintf(place, tt.col) + tt.want
			if _, err := parse(t, tt.config); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestBurstIsASecondsWorthByDefault(t *testing.T) {
	for rate, want := range map[string]int64{"1000/s": 1000, "600/m": 10, "1/m": 1, "7200/h": 2, "20/h": 1} {
		c := defaults()
		if err := c.Rate.UnmarshalText([]byte(rate)); err != nil {
			t.Fatal(err)
		}
		if c.burst() != want || c.Rate.String() != rate {
			t.Errorf("%s: burst %d of %s, want %d", rate, c.burst(), c.Rate, want)
		}
	}
}
