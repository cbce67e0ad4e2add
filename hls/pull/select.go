package pull

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/broadcastd/broadcastd/hls/playlist"
)

// maxRenditions is the most playlists that one pull follows.
const maxRenditions = 16

// A Selection says which renditions of a multivariant playlist are pulled. The
// zero value is the variant of the highest bandwidth and its default audio.
type Selection struct {
	// All takes every variant and every audio rendition that they refer to.
	All bool
	// MaxHeight leaves out variants with pictures higher than this, in pixels.
	// Zero: none.
	MaxHeight int
	// Name takes the variant with this NAME, STABLE-VARIANT-ID, or picture size
	// as "1280x720" or "720p". Empty: by bandwidth.
	Name string
	// Audio takes the audio rendition with this NAME or LANGUAGE. Empty: the
	// default one.
	Audio string
}

// A choice is one media playlist to pull.
type choice struct {
	uri       *url.URL
	media     *playlist.Media // loaded already; nil: not yet
	name      string          // for logs
	bandwidth int             // bits per second; 0: unknown
	noAudio   bool            // its audio comes from another rendition
	language  string          // RFC 5646; empty: unknown
}

// choose returns the renditions of m that are to be pulled, variants first.
func (s Selection) choose(m *playlist.Multivariant) ([]choice, error) {
	variants, err := s.variants(m)
	if err != nil {
		return nil, err
	}
	var out, audio []choice
	for _, v := range variants {
		renditions, err := s.audio(m, v)
		if err != nil {
			return nil, err
		}
		c := choice{uri: v.URI, name: nameOf(v), bandwidth: v.Bandwidth}
		for _, r := range renditions {
			c.noAudio = c.noAudio || r.URI != nil && r.URI.String() != v.URI.String()
			if r.URI != nil {
				audio = append(audio, choice{uri: r.URI, name: r.Name, language: r.Language})
			}
		}
		out = append(out, c)
	}
	// Variants share audio, and the same video comes with several.
	seen := map[string]bool{}
	out = slices.DeleteFunc(append(out, audio...), func(c choice) bool {
		u := c.uri.String()
		defer func() { seen[u] = true }()
		return seen[u]
	})
	if len(out) > maxRenditions {
		return nil, fmt.Errorf("%w: %d renditions were asked for, at most %d are pulled", ErrUnsupported, len(out), maxRenditions)
	}
	return out, nil
}

// variants returns the variants that are asked for, by falling bandwidth.
func (s Selection) variants(m *playlist.Multivariant) ([]playlist.Variant, error) {
	var names []string
	list := slices.Clone(m.Variants)
	slices.SortStableFunc(list, func(a, b playlist.Variant) int { return cmp.Compare(b.Bandwidth, a.Bandwidth) })
	var out []playlist.Variant
	for _, v := range list {
		names = append(names, nameOf(v))
		switch {
		case s.MaxHeight > 0 && v.Height > s.MaxHeight:
		case s.Name != "" && !slices.Contains(namesOf(v), s.Name):
		case !carried(v.Codecs):
		default:
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no variant is named %q, at most %d pixels high (0: any) and of codecs that can be carried; there are %s",
			ErrNoRendition, s.Name, s.MaxHeight, strings.Join(names, ", "))
	}
	if !s.All {
		out = out[:1]
	}
	return out, nil
}

// audio returns the audio renditions that are wanted with v: none where its
// own playlist has the audio.
func (s Selection) audio(m *playlist.Multivariant, v playlist.Variant) ([]playlist.Rendition, error) {
	var group []playlist.Rendition
	for _, r := range m.Renditions {
		if r.Type == playlist.Audio && r.Group == v.Audio && v.Audio != "" {
			group = append(group, r)
		}
	}
	if len(group) == 0 && s.Audio == "" || s.All && s.Audio == "" {
		return group, nil
	}
	i := slices.IndexFunc(group, func(r playlist.Rendition) bool {
		return s.Audio != "" && (r.Name == s.Audio || r.Language == s.Audio)
	})
	if i < 0 && s.Audio != "" {
		return nil, fmt.Errorf("%w: variant %s has no audio rendition of the name or language %q", ErrNoRendition, nameOf(v), s.Audio)
	}
	if i < 0 {
		i = slices.IndexFunc(group, func(r playlist.Rendition) bool { return r.Default })
	}
	if i < 0 {
		i = slices.IndexFunc(group, func(r playlist.Rendition) bool { return r.Autoselect })
	}
	return group[max(i, 0):][:1], nil
}

// namesOf returns what a variant may be called.
func namesOf(v playlist.Variant) []string {
	var names []string
	for _, n := range []string{v.Name, v.StableID} {
		if n != "" {
			names = append(names, n)
		}
	}
	if v.Height > 0 {
		names = append(names, fmt.Sprintf("%dx%d", v.Width, v.Height), fmt.Sprintf("%dp", v.Height))
	}
	return append(names, fmt.Sprintf("%d bit/s", v.Bandwidth))
}

func nameOf(v playlist.Variant) string { return namesOf(v)[0] }

// carried reports whether a CODECS attribute has nothing in it that cannot be
// carried. Subtitles are not taken, so they do no harm.
func carried(codecs string) bool {
	for c := range strings.SplitSeq(codecs, ",") {
		kind, rest, _ := strings.Cut(strings.TrimSpace(c), ".")
		switch kind {
		case "", "avc1", "avc3", "hvc1", "hev1", "av01", "Opus", "opus", "fLaC", "wvtt", "stpp":
		case "mp4a":
			if !strings.HasPrefix(rest, "40") || rest == "40.34" { // 40.34 is MP3
				return false
			}
		default:
			return false
		}
	}
	return true
}
