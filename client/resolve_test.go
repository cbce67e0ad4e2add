package client

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// An id is resolved by the API: where, with which certificate, and with the token
// in the URL alone.
func TestResolve(t *testing.T) {
	pin := []byte(strings.Repeat("p", 32))
	own := []byte(strings.Repeat("o", 32))
	for _, tt := range []struct {
		name, play, answer string
		s                  Streams
		url, pin, err      string
	}{
		{
			"live", "lv_1", `{"type":"live","relayUrl":"https://relay.example:4443","certificateHash":"` + hex.EncodeToString(pin) + `"}`,
			Streams{Token: "a.b"},
			"https://relay.example:4443/playback/lv_1?tok=a.b", "p", "",
		},
		{
			"a hash in base64", "lv_1", `{"type":"live","relayUrl":"https://r","certificateHash":"` + base64.StdEncoding.EncodeToString(pin) + `"}`,
			Streams{},
			"https://r/playback/lv_1", "p", "",
		},
		{
			"a pin of our own", "lv_1", `{"type":"live","relayUrl":"https://r","certificateHash":"` + hex.EncodeToString(pin) + `"}`,
			Streams{CertSHA256: [][]byte{own}},
			"https://r/playback/lv_1", "o", "",
		},
		{"a relay of our own", "lv_1", `{"type":"live","relayUrl":"https://r"}`, Streams{Relay: "moqt://mine:1"}, "moqt://mine:1/playback/lv_1", "", ""},
		{"a recording", "lv_1", `{"type":"vod","catalogUrl":"https://r/c.json"}`, Streams{}, "", "", "recordings"},
		{"no relay", "lv_1", `{"type":"live"}`, Streams{}, "", "", "relay's URL"},
		{"a broken hash", "lv_1", `{"type":"live","relayUrl":"https://r","certificateHash":"zz"}`, Streams{}, "", "", "SHA-256"},
		{"a URL needs nobody", "moq://r:1/playback/lv_2?tok=x", `{}`, Streams{}, "moq://r:1/playback/lv_2?tok=x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := scripted(t, ok(tt.answer))
			tt.s.API = c
			v, err := tt.s.Viewer(ViewerConfig{Play: tt.play})
			if err != nil {
				t.Fatal(err)
			}
			l, _, err := v.resolve(t.Context())
			if got := text(err); (got == "") != (tt.err == "") || !strings.Contains(got, tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
			pins := ""
			if len(l.pins) > 0 {
				pins = string(l.pins[0][:1])
			}
			if err == nil && (l.url != tt.url || pins != tt.pin) {
				t.Errorf("got %s with the pin %q, want %s with %q", l.url, pins, tt.url, tt.pin)
			}
			if len(s.got) > 0 && s.got[0].URL.Query().Get("tok") != tt.s.Token {
				t.Errorf("asked %s", s.got[0].URL)
			}
		})
	}
}

// A token that does not count is told as such where the id is resolved already.
func TestResolveRefused(t *testing.T) {
	for status, want := range map[int]CloseReason{401: AuthFailed, 403: AuthFailed, 404: Network} {
		s := &script{answers: []answer{{status: status}}}
		c, err := New(Config{URL: "http://h", HTTPClient: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		v, err := Streams{API: c, Token: "x"}.Viewer(ViewerConfig{Play: "lv_1"})
		if err != nil {
			t.Fatal(err)
		}
		if reason, err := v.Run(t.Context(), func(Chunk) error { return nil }); reason != want || err == nil {
			t.Errorf("%d: %s, %v, want %s", status, reason, err, want)
		}
	}
	if _, err := (Streams{}).Viewer(ViewerConfig{Play: "pb_1"}); !errors.Is(err, ErrRecording) {
		t.Error(fmt.Sprint(err))
	}
}
