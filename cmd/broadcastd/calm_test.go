package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogLeavesOutWhatComesTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(newCalmLog(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
		lines := func() int {
			defer b.Reset()
			return strings.Count(b.String(), "\n")
		}
		for i := range 10_000 {
			log.With("remote", i).Info("session refused")
		}
		log.Info("something else")
		if n := lines(); n != logBurst+1 {
			t.Errorf("%d lines, want %d of the flood and the other one", n, logBurst)
		}
		time.Sleep(time.Second)
		log.Info("session refused")
		if got := b.String(); !strings.Contains(got, fmt.Sprintf("left_out=%d", 10_000-logBurst)) {
			t.Errorf("after the flood: %s", got)
		}
		b.Reset()
		for range 1000 {
			log.Debug("object")
		}
		if n := lines(); n != 1000 {
			t.Errorf("%d lines of 1000 at the level debug, which somebody asked for", n)
		}
		for i := range 100_000 {
			log.Error(fmt.Sprint("http: made up ", i))
		}
		if n := len(log.Handler().(calmLog).counts.of); n > maxMessages {
			t.Errorf("%d messages are counted, want at most %d", n, maxMessages)
		}
	})
}

func TestLogShowsPlainText(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"as it is", `GET "/a b" – ünïcode 漢字`, `GET "/a b" – ünïcode 漢字`},
		{"a forged line", "cam\n{\"level\":\"INFO\",\"msg\":\"admin\"}", `cam\n{"level":"INFO","msg":"admin"}`},
		{"a terminal's escape", "\x1b[2J\x07", `\x1b[2J\a`},
		{"text that turns round", "a\u202egpj.exe", `a\u202egpj.exe`},
		{"a line break of Unicode", "a\u2028b", `a\u2028b`},
		{"not UTF-8", "a\xff", `a\xff`},
		{"long", strings.Repeat("x", 10_000), strings.Repeat("x", maxLogValue) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for kind, value := range map[string]any{"a string": tt.value, "an error": errors.New(tt.value)} {
				got := plain(nil, slog.Any("k", value)).Value
				if got.String() != tt.want {
					t.Errorf("%s is shown as %s, want %s", kind, got, tt.want)
				}
			}
		})
	}
}
