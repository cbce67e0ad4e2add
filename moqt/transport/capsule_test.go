package transport

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func parseCloseSession(t *testing.T, b []byte) (*moqt.SessionError, error) {
	t.Helper()
	typ, body, err := http3.NewCapsuleParser(bytes.NewReader(b)).Next()
	if err != nil {
		return nil, err
	}
	if typ != closeSessionCapsule {
		t.Fatalf("capsule type %#x, want %#x", typ, closeSessionCapsule)
	}
	return readCloseSession(body)
}

func TestCloseSession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		code   wire.SessionCode
		reason string
		want   []byte
	}{
		{"empty", 0, "", []byte{0x68, 0x43, 4, 0, 0, 0, 0}},
		{"unauthorized", wire.SessionUnauthorized, "no", []byte{0x68, 0x43, 6, 0, 0, 0, 2, 'n', 'o'}},
		{"too large a code", 1 << 32, "", []byte{0x68, 0x43, 4, 0, 0, 0, 1}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			if got := appendCloseSession(nil, tt.code, tt.reason); !bytes.Equal(got, tt.want) {
				t.Errorf("appendCloseSession(nil, %v, %q) = %x, want %x", tt.code, tt.reason, got, tt.want)
			}
		})
	}
	for name, b := range map[string][]byte{
		"short":     {0x68, 0x43, 3, 0, 0, 0},
		"truncated": {0x68, 0x43, 6, 0, 0, 0, 0, 'a'},
		"too long":  append([]byte{0x68, 0x43, 0x44, 0x05, 0, 0, 0, 0}, make([]byte, 1025)...),
	} {
		if got, err := parseCloseSession(t, b); err == nil {
			t.Errorf("%s: accepted as %v", name, got)
		}
	}
}

func FuzzCloseSession(f *testing.F) {
	f.Add(appendCloseSession(nil, wire.SessionUnauthorized, "expired")[3:])
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 1})
	f.Fuzz(func(t *testing.T, contents []byte) {
		if len(contents) > 1<<14 {
			return
		}
		capsule := []byte{0x68, 0x43, 0x80, 0, byte(len(contents) >> 8), byte(len(contents))}
		se, err := parseCloseSession(t, append(capsule, contents...))
		if err != nil {
			return
		}
		again, err := parseCloseSession(t, appendCloseSession(nil, se.Code, se.Reason))
		if err != nil || *again != *se {
			t.Fatalf("%x -> %+v -> %+v, %v", contents, se, again, err)
		}
	})
}

func TestCutReason(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("a", 1024), strings.Repeat("a", 1025), strings.Repeat("€", 400), strings.Repeat("\x80", 2000)} {
		got := cutReason(s)
		if len(got) > maxReason || !strings.HasPrefix(s, got) || len(s) <= maxReason && got != s {
			t.Errorf("cutReason of %d bytes has %d", len(s), len(got))
		}
		if utf8.ValidString(s) != utf8.ValidString(got) && got != "" {
			t.Errorf("cutReason(%.8q…) splits a character", s)
		}
	}
}

// TestH3Codec checks the mapping against the draft's formula and its inverse.
func TestH3Codec(t *testing.T) {
	for _, tt := range []struct {
		code wire.ResetCode
		want quic.StreamErrorCode
	}{
		{0, 0x52e4a40fa8db},
		{0x1d, 0x52e4a40fa8f8},
		{0x1e, 0x52e4a40fa8fa}, // 0x52e4a40fa8f9 is reserved
		{1<<32 - 1, 0x52e5ac983162},
		{1 << 32, 0x52e4a40fa8db}, // not representable
	} {
		if got := (h3Codec{}).encodeReset(tt.code); got != tt.want {
			t.Errorf("encodeReset(%#x) = %#x, want %#x", uint64(tt.code), got, tt.want)
		}
	}
	for code := range wire.ResetCode(10_000) {
		enc := h3Codec{}.encodeReset(code)
		if (enc-0x21)%0x1f == 0 {
			t.Fatalf("encodeReset(%#x) = %#x, which is reserved", uint64(code), enc)
		}
		if got, gone := (h3Codec{}).decodeReset(enc); got != code || gone {
			t.Fatalf("decodeReset(%#x) = %#x, %t, want %#x", enc, uint64(got), gone, uint64(code))
		}
	}
	for _, enc := range []quic.StreamErrorCode{0, 0x10c, 0x52e4a40fa8da, 0x52e4a40fa8f9, 0x52e5ac983163} {
		if got, gone := (h3Codec{}).decodeReset(enc); got != wire.ResetInternalError || gone {
			t.Errorf("decodeReset(%#x) = %v, %t, want INTERNAL_ERROR", enc, got, gone)
		}
	}
	if got, gone := (h3Codec{}).decodeReset(wtSessionGone); got != wire.ResetSessionClosed || !gone {
		t.Errorf("decodeReset(WT_SESSION_GONE) = %v, %t", got, gone)
	}
}
