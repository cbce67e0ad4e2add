package codec

import (
	"strings"
	"testing"
)

const (
	// What ffmpeg 5.1.9 wrote for libopus in stereo and 5.1, and for FLAC in mono
	// at 96 kHz.
	dOps     = "000201380000bb80000000"
	dOps51   = "000601380000bb8000000104020004010203 05"
	emptyMD5 = "00000000000000000000000000000000"
)

func TestOpus(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      Audio
		says      string
	}{
		{"stereo", dOps, Audio{"opus", 48000, 2, 0}, ""},
		{"5.1", dOps51, Audio{"opus", 48000, 6, 0}, ""},
		{"44.1 kHz went in", "000101380000ac44000000", Audio{"opus", 48000, 1, 0}, ""},
		{"short", dOps[:20], Audio{}, "needs 11"},
		{"version", "01" + dOps[2:], Audio{}, "version 1"},
		{"no channels", "0000" + dOps[4:], Audio{}, "0 channels"},
		{"three channels of family 0", "0003" + dOps[4:], Audio{}, "without a channel mapping"},
		{"mapping ends", "000601380000bb80000001040200", Audio{}, "ends inside"},
	} {
		got, err := Opus(unhex(t, strings.ReplaceAll(tt.hex, " ", "")))
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want %+v …%s…", tt.name, got, err, tt.want, tt.says)
		}
	}
}

func TestFLAC(t *testing.T) {
	info := func(v string) string { return "8000002210001000000000000000" + v + "00000000" + emptyMD5 }
	for _, tt := range []struct {
		name, hex string
		want      Audio
		says      string
	}{
		{"96 kHz mono", info("177000f0"), Audio{"fLaC", 96000, 1, 0}, ""},
		{"44.1 kHz stereo", info("0ac442f0"), Audio{"fLaC", 44100, 2, 0}, ""},
		{"655.35 kHz, 8 channels", info("9fff7ff0"), Audio{"fLaC", 655351, 8, 0}, ""},
		{"another block first", "04000004" + "00000000", Audio{}, "metadata block 4"},
		{"size", "00000021", Audio{}, "STREAMINFO of 33"},
		{"short", info("177000f0")[:40], Audio{}, "ends inside"},
		{"nothing", "", Audio{}, "needs 38"},
		{"rate 0", info("000000f0"), Audio{}, "sample rate 0"},
	} {
		got, err := FLAC(unhex(t, strings.ReplaceAll(tt.hex, " ", "")))
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want %+v …%s…", tt.name, got, err, tt.want, tt.says)
		}
	}
}

// What cannot be carried is called by its name.
func TestEntryOf(t *testing.T) {
	for typ, want := range map[string]string{"avc1": "avcC", "avc3": "avcC", "hvc1": "hvcC", "hev1": "hvcC", "av01": "av1C", "mp4a": "esds", "Opus": "dOps", "fLaC": "dfLa"} {
		e, err := EntryOf(typ)
		if err != nil || e.Config != want || (e.Video == nil) == (e.Audio == nil) {
			t.Errorf("EntryOf(%s) = %+v, %v; want %s", typ, e, err, want)
		}
	}
	for typ, want := range map[string]string{
		"vp09": "VP9 cannot be carried; H.264, HEVC, AV1, AAC, Opus and FLAC can",
		"ec-3": "E-AC-3 cannot", "encv": "an encrypted track (encv) cannot", "sowt": "PCM (sowt) cannot", "xyz1": "the codec xyz1 cannot",
	} {
		if _, err := EntryOf(typ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("EntryOf(%s): %v, want …%s…", typ, err, want)
		}
	}
}
