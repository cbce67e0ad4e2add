package cmaf

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/codec"
)

// The samples that come out are those that mp4ff finds in the file, in bytes
// and times, however the file was written and however it arrives.
func TestDemuxerFixtures(t *testing.T) {
	for _, name := range []string{
		"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "editlist.mp4", "baseoffset.mp4", "nooffset.mp4", "dash.mp4", "video.mp4", "audio.mp4",
		"hevc.mp4", "hevc10.mp4", "av1.mp4", "av110.mp4", "avc10.mp4", "opus.mp4", "flac.mp4", "tracks.mp4",
	} {
		in := fixture(t, name)
		want := oracle(t, in)
		for _, piece := range []int{0, 1, 7, 188, 4096} {
			for _, policy := range []time.Duration{0, 50 * time.Millisecond, time.Second} {
				t.Run(fmt.Sprintf("%s/piece=%d/target=%v", name, piece, policy), func(t *testing.T) {
					p := ChunkPolicy{policy}
					got, err := demux(in, piece, DemuxerConfig{Video: p, Audio: p})
					if err != nil {
						t.Fatal(err)
					}
					if len(got.tracks) != len(want) || len(got.jumps) > 0 {
						t.Fatalf("%d tracks, want %d; jumps %v", len(got.tracks), len(want), got.jumps)
					}
					for i, tr := range got.tracks {
						checkSamples(t, tr, want[uint32(i+1)])
						checkChunks(t, tr, p)
						if tr.closed != 1 {
							t.Errorf("%s: closed %d times", tr.name, tr.closed)
						}
					}
				})
			}
		}
	}
}

func checkSamples(t *testing.T, tr *captureTrack, want []flatSample) {
	t.Helper()
	got := flatten(tr.chunks)
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			g, w := got[i], want[i]
			g.data, w.data = fmt.Sprintf("%.8x…", g.data), fmt.Sprintf("%.8x…", w.data)
			t.Fatalf("%s: sample %d is %+v, want %+v", tr.name, i, g, w)
		}
	}
	t.Fatalf("%s: %d samples, want %d", tr.name, len(got), len(want))
}

// checkChunks checks what holds for every chunk of a policy.
func checkChunks(t *testing.T, tr *captureTrack, p ChunkPolicy) {
	t.Helper()
	target := FromDuration(p.Target, tr.header.Timescale).Ticks
	for i, c := range tr.chunks {
		if p.Target == 0 && len(c.Samples) != 1 {
			t.Errorf("%s: chunk %d has %d samples, want 1", tr.name, i, len(c.Samples))
		}
		if last := int64(c.Samples[len(c.Samples)-1].Duration); target > 0 && c.Duration()-last >= target {
			t.Errorf("%s: chunk %d lasts %d ticks, its last sample %d; the target was reached before it", tr.name, i, c.Duration(), last)
		}
		for j, s := range c.Samples {
			if tr.header.Kind == KindVideo && j > 0 && s.Sync() {
				t.Errorf("%s: chunk %d has a random access point inside", tr.name, i)
			}
		}
		if c.RAP != c.Samples[0].Sync() {
			t.Errorf("%s: chunk %d has RAP %t", tr.name, i, c.RAP)
		}
	}
	if !tr.chunks[0].RAP {
		t.Errorf("%s: does not start with a random access point", tr.name)
	}
}

func TestDemuxerHeaders(t *testing.T) {
	video := func(codec string, depth int) Header {
		return Header{Kind: KindVideo, Codec: codec, Timescale: 12800, Width: 160, Height: 120, FrameRate: 25, BitDepth: depth}
	}
	for _, tt := range []struct {
		file string
		want []Header
	}{
		{"keyframe.mp4", []Header{
			{Kind: KindVideo, Codec: "avc1.64000b", Timescale: 12800, Width: 160, Height: 120, FrameRate: 25, BitDepth: 8},
			{Kind: KindAudio, Codec: "mp4a.40.2", Timescale: 48000, SampleRate: 48000, Channels: 2, Bitrate: 32000},
		}},
		{"video.mp4", []Header{{Kind: KindVideo, Codec: "avc1.64000b", Timescale: 12800, Width: 160, Height: 120, FrameRate: 25, BitDepth: 8}}},
		{"audio.mp4", []Header{{Kind: KindAudio, Codec: "mp4a.40.2", Timescale: 48000, SampleRate: 48000, Channels: 2, Bitrate: 32000, Language: "eng"}}},
		{"hevc.mp4", []Header{video("hvc1.1.6.L30.90", 8)}},
		{"hevc10.mp4", []Header{video("hev1.2.4.L30.90", 10)}},
		{"av1.mp4", []Header{video("av01.0.00M.08", 8)}},
		{"av110.mp4", []Header{video("av01.0.00M.10.0.110.09.16.09.0", 10)}},
		{"avc10.mp4", []Header{video("avc1.6e000b", 10)}},
		{"opus.mp4", []Header{{Kind: KindAudio, Codec: "opus", Timescale: 48000, SampleRate: 48000, Channels: 2, Bitrate: 32000}}},
		{"flac.mp4", []Header{{Kind: KindAudio, Codec: "fLaC", Timescale: 96000, SampleRate: 96000, Channels: 1, Bitrate: 128000}}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			got, err := demux(fixture(t, tt.file), 0, DemuxerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				h := got.tracks[i].header
				again, err := ParseHeader(h.Init)
				if err != nil {
					t.Fatalf("ParseHeader of our own Init: %v", err)
				}
				if h.FrameRate == 25 && again.FrameRate == 0 {
					again.FrameRate = 25 // measured, not in the header
				}
				for _, g := range []Header{h, again} {
					s, w := fmt.Sprintf("%+v", brief(g)), fmt.Sprintf("%+v", brief(want))
					if s != w {
						t.Errorf("track %d is %s, want %s", i, s, w)
					}
				}
			}
		})
	}
}

// brief returns what of h is meant to be compared.
func brief(h Header) Header {
	h.Init, h.keyFrames, h.trackID, h.defaults, h.shift = nil, codec.KeyFrames{}, 0, sampleDefaults{}, 0
	return h
}
