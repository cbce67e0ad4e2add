package rtmp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func describe(list []packet) string {
	var b strings.Builder
	for _, p := range list {
		key := fmt.Sprint(p.key)
		if p.mute {
			key += " mute"
		}
		fmt.Fprintf(&b, "%s %d %s kind %d key %s cts %d nanos %d %x; ", p.media.cmaf(), p.track, p.codec, p.kind, key, p.cts, p.nanos, p.data)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestTags(t *testing.T) {
	for _, tt := range []struct{ name, hex, want string }{
		{"AVC configuration", "v 17 00 000000 0102", "video 0 avc1 kind 0 key true cts 0 nanos 0 0102"},
		{"AVC frame, shown before", "v 27 01 ffffff 03", "video 0 avc1 kind 1 key false cts -1 nanos 0 03"},
		{"AVC end", "v 17 02 000000", "video 0 avc1 kind 2 key true cts 0 nanos 0 "},
		{"HEVC by number", "v 1c 01 000010 03", "video 0 hvc1 kind 1 key true cts 16 nanos 0 03"},
		{"an info frame", "v 57 00", ""},
		{"nothing", "v", ""},
		{"AAC configuration", "a af 00 1190", "audio 0 mp4a kind 0 key true cts 0 nanos 0 1190"},
		{"AAC", "a af 01 21", "audio 0 mp4a kind 1 key true cts 0 nanos 0 21"},
		{"HEVC, start", "v 90 68766331 01", "video 0 hvc1 kind 0 key true cts 0 nanos 0 01"},
		{"HEVC, frame with a time", "v a1 68766331 000021 01", "video 0 hvc1 kind 1 key false cts 33 nanos 0 01"},
		{"HEVC, frame without", "v 93 68766331 01", "video 0 hvc1 kind 1 key true cts 0 nanos 0 01"},
		{"AV1 has no time", "v 91 61763031 0a0b", "video 0 av01 kind 1 key true cts 0 nanos 0 0a0b"},
		{"VP9, end", "v 92 76703039", "video 0 vp09 kind 2 key true cts 0 nanos 0 "},
		{"colours", "v 94 68766331 00", ""},
		{"a seek command", "v d1 00", ""},
		{"HEVC, no frame type", "v 81 68766331 000021 01", "video 0 hvc1 kind 1 key false mute cts 33 nanos 0 01"},
		{"nanoseconds", "v 97 02 0f4240 03 61766331 01", "video 0 avc1 kind 1 key true cts 0 nanos 999999 01"},
		{"two modifiers, the first unknown", "v 97 00 aa 17 02 000001 03 61766331 01", "video 0 avc1 kind 1 key true cts 0 nanos 1 01"},
		{"Opus", "a 91 4f707573 fc", "audio 0 Opus kind 1 key true cts 0 nanos 0 fc"},
		{"FLAC, start", "a 90 664c6143 00", "audio 0 fLaC kind 0 key true cts 0 nanos 0 00"},
		{"E-AC-3", "a 91 65632d33 0b77", "audio 0 ec-3 kind 1 key true cts 0 nanos 0 0b77"},
		{"channel layout", "a 94 4f707573 01", ""},
		{"one track", "v 96 01 61766331 02 000010 aa", "video 2 avc1 kind 1 key true cts 16 nanos 0 aa"},
		{
			"many tracks", "v 96 13 61763031 01 000001 aa 02 000002 bbcc",
			"video 1 av01 kind 1 key true cts 0 nanos 0 aa; video 2 av01 kind 1 key true cts 0 nanos 0 bbcc",
		},
		{
			"many codecs", "a 95 21 6d703461 01 000001 aa 4f707573 02 000001 bb",
			"audio 1 mp4a kind 1 key true cts 0 nanos 0 aa; audio 2 Opus kind 1 key true cts 0 nanos 0 bb",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := appendVideo
			if tt.hex[0] == 'a' {
				read = appendAudio
			}
			got, err := read(nil, unhex(t, tt.hex[1:]))
			if err != nil || describe(got) != tt.want {
				t.Errorf("%s, %v; want %s", describe(got), err, tt.want)
			}
		})
	}
}

func TestTagsRefused(t *testing.T) {
	for hex, want := range map[string]string{
		"v 12 00":                    "Sorenson H.263 cannot be carried",
		"v 1e 00":                    "video codec 14",
		"a 2f 00":                    "MP3 cannot be carried",
		"a c0 00":                    "audio format 12",
		"v 90 76763031 01":           `codec "vv01"`,
		"a 91 2e6d7033 01":           `codec ".mp3"`,
		"v 95 61763031 01":           "MPEG-2 TS",
		"v 17 01 00":                 "3 bytes",
		"v 91 6876":                  "inside its header",
		"v 91 68766331 00":           "a coded frame of 1 bytes",
		"v 96 31 61766331 02":        "multitrack type 3",
		"v 96 11 61766331 02 0000ff": "255 bytes, 0 are left",
		"v 97 ff ffff 00":            "inside its header",
	} {
		read := appendVideo
		if hex[0] == 'a' {
			read = appendAudio
		}
		if got, err := read(nil, unhex(t, hex[1:])); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want …%s…", hex, describe(got), err, want)
		}
	}
}

func FuzzTags(f *testing.F) {
	for _, s := range []string{"17000000000102", "96 13 61763031 01 000001 aa 02 000002 bbcc", "97 02 0f4240 03 61766331 01", "95 21 6d703461 01 000001 aa 4f707573 02 000001 bb"} {
		f.Add(unhex(f, s), true)
		f.Add(unhex(f, s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, isVideo bool) {
		read := appendAudio
		if isVideo {
			read = appendVideo
		}
		list, err := read(nil, b)
		size := 0
		for _, p := range list {
			size += len(p.data)
		}
		if size > len(b) || len(list) > len(b) {
			t.Fatalf("%d packets of %d bytes out of %d, %v", len(list), size, len(b), err)
		}
		if parts, err := appendAggregate(nil, b); len(parts) > len(b) || err != nil && !errors.Is(err, errProtocol) {
			t.Fatalf("%d parts, %v", len(parts), err)
		}
	})
}
