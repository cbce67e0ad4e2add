package playlist

import (
	"bytes"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/Eyevinn/hls-m3u8/m3u8"
)

// A scan goes over the lines of a playlist ahead of the library: it applies
// the bounds, leaves out what is not used, and notes what the library does not
// keep. Every line that it passes on has a number in lines.
type scan struct {
	multivariant bool
	media        bool
	out          bytes.Buffer
	lines        []int // of each line in out
	segments     []scanned
	variants     []int // lines of their URIs
	renditions   int

	inf       int          // line of the EXTINF or EXT-X-STREAM-INF that waits for its URI
	keys      []scannedKey // in force, of different formats; replaced, never changed
	mapKeys   []scannedKey // in force at the last EXT-X-MAP
	rangeLine int          // line of the EXT-X-BYTERANGE that waits
	offset    bool         // it has an offset
}

// A scanned is what the scan notes of a segment.
type scanned struct {
	line      int
	rangeLine int  // line of its byte range; 0: it has none
	offset    bool // the byte range has an offset
	keys      []scannedKey
	mapKeys   []scannedKey // of its map
}

// A scannedKey is the attributes of an EXT-X-KEY. The library does not keep
// which keys are in force where a map stands.
type scannedKey struct{ method, uri, iv, format string }

// maxKeyFormats is how many keys may be in force at once.
const maxKeyFormats = 16

// key takes a normal attribute list of EXT-X-KEY. A key is in force until
// another one of its format, or NONE (RFC 8216 section 4.3.2.4).
func (s *scan) key(list string) (reason string) {
	var k scannedKey
	for list != "" {
		name, rest, _ := strings.Cut(list, "=")
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, list, _ = strings.Cut(quoted, `"`)
			list = strings.TrimPrefix(list, ",")
		} else {
			value, list, _ = strings.Cut(rest, ",")
		}
		switch name {
		case "METHOD":
			k.method = value
		case "URI":
			k.uri = value
		case "IV":
			k.iv = value
		case "KEYFORMAT":
			if k.format = value; value == "identity" {
				k.format = "" // it means the same
			}
		}
	}
	switch {
	case k.method == "":
		return "has no METHOD"
	case k.method == "NONE":
		s.keys = nil
		return ""
	}
	keys := make([]scannedKey, 0, len(s.keys)+1)
	for _, old := range s.keys {
		if old.format != k.format {
			keys = append(keys, old)
		}
	}
	if len(keys) == maxKeyFormats {
		return "is of one of more than " + strconv.Itoa(maxKeyFormats) + " key formats"
	}
	s.keys = append(keys, k)
	return ""
}

// What each tag does for us. Others are left out, so that a fault in a tag that
// nobody uses does no harm.
type tagUse struct {
	multivariant, media bool // which kind of playlist it decides on
	attributes          bool // it has an attribute list
}

func useOf(tag string) (tagUse, bool) {
	switch tag {
	case "EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF":
		return tagUse{multivariant: true, attributes: true}, true
	case "EXTINF", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-ENDLIST",
		"EXT-X-PLAYLIST-TYPE", "EXT-X-BYTERANGE", "EXT-X-DISCONTINUITY", "EXT-X-PROGRAM-DATE-TIME", "EXT-X-GAP", "EXT-X-I-FRAMES-ONLY":
		return tagUse{media: true}, true
	case "EXT-X-MAP", "EXT-X-KEY", "EXT-X-SERVER-CONTROL":
		return tagUse{media: true, attributes: true}, true
	case "EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS":
		return tagUse{}, true
	case "EXT-X-START":
		return tagUse{attributes: true}, true
	}
	return tagUse{}, false
}

// run scans b.
func (s *scan) run(b []byte) error {
	if len(b) > MaxSize {
		return &LineError{Reason: "has " + strconv.Itoa(len(b)) + " bytes, at most " + strconv.Itoa(MaxSize) + " are taken"}
	}
	text := strings.TrimPrefix(string(b), "\ufeff") // lines are parts of it
	for n := 1; text != ""; n++ {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		if err := s.line(n, strings.TrimRight(line, "\r \t")); err != nil {
			return err
		}
	}
	switch {
	case len(s.lines) == 0:
		return &LineError{Reason: "is empty"}
	case s.inf > 0:
		return &LineError{Line: s.inf, Reason: "announces a URI, and the playlist ends"}
	case !s.multivariant && !s.media:
		return &LineError{Reason: "has neither segments nor variants"}
	}
	return nil
}

func (s *scan) line(n int, line string) error {
	fail := func(tag, reason string) error { return &LineError{n, tag, reason} }
	if len(s.lines) == 0 {
		if line != "#EXTM3U" {
			return fail("", "does not begin with #EXTM3U"+seen(line))
		}
		s.pass(n, line)
		return nil
	}
	if line == "" {
		return nil
	}
	if !strings.HasPrefix(line, "#") {
		return s.uri(n, line)
	}
	tag, value, _ := strings.Cut(line[1:], ":")
	if tag == "EXT-X-DEFINE" {
		return fail(tag, "variables are not supported")
	}
	use, ok := useOf(tag)
	if !ok {
		return nil
	}
	s.multivariant = s.multivariant || use.multivariant
	s.media = s.media || use.media
	if s.multivariant && s.media {
		return fail(tag, "belongs to another kind of playlist than the lines before")
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return fail(tag, "is not text in UTF-8")
	}
	if use.attributes {
		list, reason := attributes(value)
		if reason != "" {
			return fail(tag, reason)
		}
		line = "#" + tag + ":" + list
	}
	switch tag {
	case "EXTINF":
		if s.inf > 0 {
			return &LineError{s.inf, tag, "has no URI"}
		}
		if duration, _, ok := strings.Cut(value, ","); !ok {
			line = "#EXTINF:" + duration + "," // the comma is often forgotten
		}
		s.inf = n
	case "EXT-X-STREAM-INF":
		if s.inf > 0 {
			return &LineError{s.inf, tag, "has no URI"}
		}
		if len(s.variants) == MaxVariants {
			return fail(tag, "is one of more than "+strconv.Itoa(MaxVariants))
		}
		s.inf = n
	case "EXT-X-MEDIA":
		if s.renditions++; s.renditions > MaxVariants {
			return fail(tag, "is one of more than "+strconv.Itoa(MaxVariants))
		}
	case "EXT-X-I-FRAME-STREAM-INF":
		return nil
	case "EXT-X-KEY":
		if reason := s.key(line[len("#EXT-X-KEY:"):]); reason != "" {
			return fail(tag, reason)
		}
		return nil
	case "EXT-X-MAP":
		s.mapKeys = s.keys
	case "EXT-X-BYTERANGE":
		s.rangeLine, s.offset = n, strings.Contains(value, "@")
	case "EXT-X-PLAYLIST-TYPE":
		if value == "" {
			return nil
		}
	case "EXT-X-PROGRAM-DATE-TIME":
		if !saysInstant(value) {
			return nil
		}
	}
	s.pass(n, line)
	return nil
}

func (s *scan) uri(n int, line string) error {
	if s.inf == 0 {
		return &LineError{n, "", "is a URI without EXTINF or EXT-X-STREAM-INF before it"}
	}
	s.inf = 0
	if s.multivariant {
		s.variants = append(s.variants, n)
	}
	if s.media {
		if len(s.segments) == MaxSegments {
			return &LineError{n, "", "is segment " + strconv.Itoa(MaxSegments+1) + ", at most " + strconv.Itoa(MaxSegments) + " are taken"}
		}
		s.segments = append(s.segments, scanned{n, s.rangeLine, s.offset, s.keys, s.mapKeys})
		s.rangeLine, s.offset = 0, false
	}
	s.pass(n, line)
	return nil
}

func (s *scan) pass(n int, line string) {
	s.lines = append(s.lines, n)
	s.out.WriteString(line)
	s.out.WriteByte('\n')
}

// seen says what stands where a playlist should begin.
func seen(line string) string {
	if line == "" {
		return ""
	}
	if len(line) > 32 {
		line = line[:32]
	}
	return ": " + strconv.Quote(line)
}

// attributes returns an attribute list as the standard writes it, or what is
// wrong with it. The library indexes past the end of lists that are not.
func attributes(list string) (normal, reason string) {
	var b strings.Builder
	for p := strings.TrimLeft(list, ", \t"); p != ""; p = strings.TrimLeft(p, ", \t") {
		name, rest, ok := strings.Cut(p, "=")
		if !ok {
			return "", "has an attribute without a value"
		}
		if !isName(name) {
			return "", "has an attribute whose name is not one"
		}
		var value string
		if quoted, isQuoted := strings.CutPrefix(rest, `"`); isQuoted {
			value, p, ok = strings.Cut(quoted, `"`)
			if !ok {
				return "", "has a quoted value without an end"
			}
			value = `"` + value + `"`
			_, p, _ = strings.Cut(p, ",")
		} else {
			value, p, _ = strings.Cut(rest, ",")
			value = strings.TrimRight(value, " \t")
		}
		if len(value) > MaxURI {
			return "", "has a value of more than " + strconv.Itoa(MaxURI) + " bytes"
		}
		if value == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + "=" + value)
	}
	return b.String(), ""
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != ""
}

// resolve returns ref as an absolute URL of HTTP.
func resolve(base *url.URL, ref string) (*url.URL, string) {
	if len(ref) > MaxURI {
		return nil, "has a URI of " + strconv.Itoa(len(ref)) + " bytes, at most " + strconv.Itoa(MaxURI) + " are taken"
	}
	u, err := base.Parse(strings.TrimSpace(ref))
	if err != nil {
		return nil, "has a URI that cannot be read" // err has it in full, with what is secret
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, "has a URI that is not of http or https"
	}
	return u, ""
}

// maxSeconds is the longest duration that makes sense anywhere.
const maxSeconds = 1e6

func validSeconds(v float64) bool { return v >= 0 && v <= maxSeconds && !math.IsNaN(v) }

// saysInstant reports whether a date and time can be placed: without a time
// zone it cannot.
func saysInstant(value string) bool {
	_, err := m3u8.FullTimeParse(value)
	return err == nil
}
