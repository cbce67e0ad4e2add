package cmaf

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A header made from a configuration says what that of ffmpeg's file does, and
// is read back the same.
func TestNewHeader(t *testing.T) {
	for _, tt := range []struct {
		name, entry, config string
		c                   HeaderConfig
		want                Header
	}{
		{
			"H.264", "avc1", "0164000dffe1001967 64000dacd94141fb0110000003001000000303c0f14299 6001000668ebe3cb22c0fdf8f800",
			HeaderConfig{},
			Header{Kind: KindVideo, Codec: "avc1.64000d", Timescale: 90000, Width: 320, Height: 240, FrameRate: 30, BitDepth: 8},
		},
		{
			"VP9 with the size from the input", "vp09", "000b820202020000",
			HeaderConfig{Width: 320, Height: 180, Bitrate: 500_000},
			Header{Kind: KindVideo, Codec: "vp09.00.11.08", Timescale: 90000, Width: 320, Height: 180, BitDepth: 8, Bitrate: 500_000},
		},
		{"AAC", "mp4a", "1190", HeaderConfig{}, Header{Kind: KindAudio, Codec: "mp4a.40.2", Timescale: 48000, SampleRate: 48000, Channels: 2}},
		{
			"AAC, rate beyond 16 bits, in a timescale of its own", "mp4a", "1010",
			HeaderConfig{Timescale: 1000, Language: "deu"},
			Header{Kind: KindAudio, Codec: "mp4a.40.2", Timescale: 1000, SampleRate: 96000, Channels: 2, Language: "deu"},
		},
		{"Opus", "Opus", "000201380000bb80000000", HeaderConfig{}, Header{Kind: KindAudio, Codec: "opus", Timescale: 48000, SampleRate: 48000, Channels: 2}},
		{
			"FLAC", "fLaC", "800000221000100000000000000 00ac442f000000000" + strings.Repeat("00", 16),
			HeaderConfig{},
			Header{Kind: KindAudio, Codec: "fLaC", Timescale: 44100, SampleRate: 44100, Channels: 2},
		},
		{"AC-3", "ac-3", "103de0", HeaderConfig{}, Header{Kind: KindAudio, Codec: "ac-3", Timescale: 48000, SampleRate: 48000, Channels: 6}},
		{"E-AC-3", "ec-3", "0600200400", HeaderConfig{}, Header{Kind: KindAudio, Codec: "ec-3", Timescale: 48000, SampleRate: 48000, Channels: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, err := hex.DecodeString(strings.ReplaceAll(tt.config, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			tt.c.Entry, tt.c.Config = tt.entry, config
			h, err := NewHeader(tt.c)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseHeader(h.Init)
			if err != nil || !bytes.Equal(again.Init, h.Init) {
				t.Fatalf("the header read back has another init: %v", err)
			}
			for _, got := range []Header{h, again} {
				if got.keyFrames.Known() != (h.Kind == KindVideo) {
					t.Error("key frames cannot be told")
				}
				got.Init, got.keyFrames, got.trackID = nil, tt.want.keyFrames, 0
				if got.FrameRate > 0 {
					got.FrameRate = tt.want.FrameRate
				}
				if !headersEqual(got, tt.want) {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			}
		})
	}
}

func headersEqual(a, b Header) bool {
	return a.Kind == b.Kind && a.Codec == b.Codec && a.Timescale == b.Timescale && a.Width == b.Width && a.Height == b.Height &&
		a.FrameRate == b.FrameRate && a.BitDepth == b.BitDepth && a.SampleRate == b.SampleRate && a.Channels == b.Channels &&
		a.Bitrate == b.Bitrate && a.Language == b.Language
}

func TestNewHeaderRefuses(t *testing.T) {
	for _, tt := range []struct {
		entry, config, want string
	}{
		{"vp08", "", "VP8 cannot be carried"},
		{"avc1", "01", "avc1/avcC"},
		{"avc1", strings.Repeat("00", maxSampleEntry/2+1), "at most"},
		{"vp09", "00", "vp09/vpcC"},
		{"mp4a", "", "mp4a/esds"},
	} {
		config, err := hex.DecodeString(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := NewHeader(HeaderConfig{Entry: tt.entry, Config: config}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want …%s…", tt.entry, h, err, tt.want)
		}
	}
}

// ffprobe sees in our header what it saw in the file that the configuration is
// from.
func TestNewHeaderForFFprobe(t *testing.T) {
	for _, tt := range []struct{ name, entry, config, want string }{
		{"AC-3", "ac-3", "103de0", "ac3"},
		{"E-AC-3", "ec-3", "0600200400", "eac3"},
		{"Opus", "Opus", "000201380000bb80000000", "opus"},
		{"VP9", "vp09", "000b820202020000", "vp9"},
		{"AAC", "mp4a", "1190", "aac"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, err := hex.DecodeString(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			h, err := NewHeader(HeaderConfig{Entry: tt.entry, Config: config, Width: 320, Height: 180})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "init.mp4")
			if err := os.WriteFile(file, h.Init, 0o600); err != nil {
				t.Fatal(err)
			}
			p := ffprobe(t, file)
			if p.Codec != tt.want || p.Width != h.Width || p.Height != h.Height || p.Chans != h.Channels && tt.entry != "mp4a" {
				t.Errorf("ffprobe says %+v, the header %s %dx%d, %d channels", p, h.Codec, h.Width, h.Height, h.Channels)
			}
		})
	}
}
