package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestNamespaceLimits(t *testing.T) {
	many := slices.Repeat([]string{"a"}, 33)
	for _, tt := range []struct {
		name   string
		fields []string
		ok     bool
	}{
		{"none", nil, true},
		{"32 fields", many[:32], true},
		{"33 fields", many, false},
		{"empty field", []string{"a", "", "b"}, false},
		{"4096 bytes", []string{strings.Repeat("x", 4000), strings.Repeat("y", 96)}, true},
		{"4097 bytes", []string{strings.Repeat("x", 4000), strings.Repeat("y", 97)}, false},
		{"any bytes", []string{"\x00\xff/-."}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := NewNamespace(tt.fields...)
			if (err == nil) != tt.ok {
				t.Fatalf("NewNamespace = %v, want ok %t", err, tt.ok)
			}
			if !tt.ok {
				if n != (Namespace{}) {
					t.Errorf("a failure returns %v, want the empty namespace", n)
				}
				return
			}
			if got := n.Fields(); !slices.Equal(got, tt.fields) || n.Len() != len(tt.fields) {
				t.Errorf("Fields() = %q, Len() = %d, want %q", got, n.Len(), tt.fields)
			}
		})
	}
}

func TestNamespacePrefix(t *testing.T) {
	ns := MustNamespace
	for _, tt := range []struct {
		name      string
		n, prefix Namespace
		suffix    Namespace
		ok        bool
	}{
		{"empty prefix", ns("a", "b"), ns(), ns("a", "b"), true},
		{"itself", ns("a", "b"), ns("a", "b"), ns(), true},
		{"first field", ns("a", "b", "c"), ns("a"), ns("b", "c"), true},
		{"field by field, not byte by byte", ns("ab"), ns("a"), ns(), false},
		{"longer than n", ns("a"), ns("a", "b"), ns(), false},
		{"length bytes do not match content", ns("\x01a"), ns("\x01"), ns(), false},
		{"two-byte lengths", ns(strings.Repeat("x", 300), "b"), ns(strings.Repeat("x", 300)), ns("b"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.n.TrimPrefix(tt.prefix)
			if got != tt.suffix || ok != tt.ok || tt.n.HasPrefix(tt.prefix) != tt.ok {
				t.Errorf("%v.TrimPrefix(%v) = %v, %t; want %v, %t", tt.n, tt.prefix, got, ok, tt.suffix, tt.ok)
			}
			if !ok {
				return
			}
			if joined, err := tt.prefix.Join(got); err != nil || joined != tt.n {
				t.Errorf("%v.Join(%v) = %v, %v; want %v", tt.prefix, got, joined, err, tt.n)
			}
		})
	}
}

func TestNamespaceJoinLimits(t *testing.T) {
	long := MustNamespace(strings.Repeat("x", 2049))
	if n, err := long.Join(long); err == nil {
		t.Errorf("Join to 4098 bytes = %d fields, want an error", n.Len())
	}
	many := MustNamespace(slices.Repeat([]string{"a"}, 20)...)
	if n, err := many.Join(many); err == nil {
		t.Errorf("Join to 40 fields = %d fields, want an error", n.Len())
	}
}

func TestSplitNamespace(t *testing.T) {
	for _, tt := range []struct {
		path   string
		fields []string
		ok     bool
	}{
		{"", nil, true},
		{"cam", []string{"cam"}, true},
		{"stream/local/cam", []string{"stream", "local", "cam"}, true},
		{"/cam", nil, false},
		{"cam/", nil, false},
		{"a//b", nil, false},
		{strings.Repeat("a/", 32) + "a", nil, false},
	} {
		n, err := SplitNamespace(tt.path)
		if (err == nil) != tt.ok || !slices.Equal(n.Fields(), tt.fields) {
			t.Errorf("SplitNamespace(%q) = %q, %v; want %q, ok %t", tt.path, n.Fields(), err, tt.fields, tt.ok)
		}
		if err == nil && n.Path() != tt.path {
			t.Errorf("SplitNamespace(%q).Path() = %q", tt.path, n.Path())
		}
	}
}

func TestReserved(t *testing.T) {
	for first, want := range map[string]bool{".": true, ".session": true, ".x": true, "a": false, "a.": false} {
		if got := MustNamespace(first, "b").Reserved(); got != want {
			t.Errorf("Reserved() of %q = %t, want %t", first, got, want)
		}
	}
	if (Namespace{}).Reserved() {
		t.Error("the empty namespace is reserved")
	}
}

func TestNamesText(t *testing.T) {
	for _, tt := range []struct {
		track FullTrackName
		text  string
	}{
		{FullTrackName{MustNamespace("example.net", "team2", "project_x"), "report"}, "example.2enet-team2-project_x--report"},
		{FullTrackName{MustNamespace("live", "cam"), ""}, "live-cam--"},
		{FullTrackName{Namespace{}, "catalog"}, "--catalog"},
		{FullTrackName{}, "--"},
		{FullTrackName{MustNamespace("-", "--"), "-a"}, ".2d-.2d.2d--.2da"},
		{FullTrackName{MustNamespace("\x00\xff"), "ü"}, ".00.ff--.c3.bc"},
	} {
		if got := tt.track.String(); got != tt.text {
			t.Errorf("%q/%q String() = %q, want %q", tt.track.Namespace.Fields(), tt.track.Name, got, tt.text)
		}
		var got FullTrackName
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got != tt.track {
			t.Errorf("UnmarshalText(%q) = %v, %v; want %v", tt.text, got, err, tt.track)
		}
		var n Namespace
		if err := n.UnmarshalText([]byte(tt.track.Namespace.String())); err != nil || n != tt.track.Namespace {
			t.Errorf("UnmarshalText(%q) = %v, %v", tt.track.Namespace, n, err)
		}
	}
	for _, bad := range []string{
		"", "a", "a-b", "a---b", "-a--b", "a-.2E--b", ".61--b", "a--b.", "a--b.2", "a--.2g", "a b--c", "a--b-c", "ü--b",
		strings.Repeat("a-", 32) + "a--b", "a--" + strings.Repeat("x", 4096),
	} {
		var got FullTrackName
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("UnmarshalText(%q) = %v, want an error", bad, got)
		}
	}
}

func TestNamesInLogsAndJSON(t *testing.T) {
	track := FullTrackName{MustNamespace("live", "a b"), "video"}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "track", track, "namespace", track.Namespace)
	if want := "track=live-a.20b--video namespace=live-a.20b\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("logged %q, want the end %q", out.String(), want)
	}
	b, err := json.Marshal(map[Namespace]FullTrackName{track.Namespace: track})
	if want := `{"live-a.20b":"live-a.20b--video"}`; err != nil || string(b) != want {
		t.Errorf("json.Marshal = %s, %v; want %s", b, err, want)
	}
}

func TestFullTrackNameValid(t *testing.T) {
	n := MustNamespace("ab")
	for size, want := range map[int]bool{0: true, 4094: true, 4095: false} {
		if got := (FullTrackName{n, strings.Repeat("x", size)}).Valid(); got != want {
			t.Errorf("Valid() of 2+%d bytes = %t, want %t", size, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("example.2enet-team2-project_x--report")
	f.Add("--")
	f.Add(".00--.ff")
	f.Fuzz(func(t *testing.T, text string) {
		var got FullTrackName
		if err := got.UnmarshalText([]byte(text)); err != nil {
			return
		}
		if got.String() != text { // one name, one text
			t.Fatalf("%q parses to %q, whose text is %q", text, got.Namespace.Fields(), got.String())
		}
		if again, err := NewNamespace(got.Namespace.Fields()...); err != nil || again != got.Namespace {
			t.Fatalf("%q -> %v, %v", got.Namespace.Fields(), again, err)
		}
	})
}

func TestLocation(t *testing.T) {
	order := []Location{{0, 0}, {0, 1}, {0, math.MaxUint64}, {1, 0}, {2, 5}, {math.MaxUint64, 0}}
	for i, a := range order {
		for j, b := range order {
			if got, want := a.Less(b), i < j; got != want {
				t.Errorf("%v.Less(%v) = %t, want %t", a, b, got, want)
			}
		}
	}
	if got := fmt.Sprint(Location{3, 4}); got != "{3, 4}" {
		t.Errorf("String() = %q", got)
	}
}

func TestFetchEnd(t *testing.T) {
	for _, tt := range []struct{ last, end Location }{
		{Location{3, 0}, Location{3, 1}},
		{Location{3, 7}, Location{3, 8}},
		{Location{3, math.MaxUint64}, Location{3, 0}}, // the whole group
	} {
		if got := FetchEnd(tt.last); got != tt.end {
			t.Errorf("FetchEnd(%v) = %v, want %v", tt.last, got, tt.end)
		}
		if got := FetchLast(tt.end); got != tt.last {
			t.Errorf("FetchLast(%v) = %v, want %v", tt.end, got, tt.last)
		}
	}
}
