package transport

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestOfferedTokens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []string
		want   []string
	}{
		{"none", nil, nil},
		{"Chromium", []string{`"moq-lite-05", "moqt-18"`}, []string{"moq-lite-05", "moqt-18"}},
		{"two fields", []string{`"a"`, `"b"`}, []string{"a", "b"}},
		{"parameters", []string{`"a";q=1`}, []string{"a"}},
		{"escapes", []string{`"a\"b"`}, []string{`a"b`}},
		{"token instead of string", []string{`moqt-18`}, nil},
		{"inner list", []string{`("a" "b")`}, nil},
		{"malformed", []string{`"a", `}, nil},
		{"too many", []string{strings.Repeat(`"a",`, 100) + `"b"`}, slices.Repeat([]string{"a"}, maxOffered)},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			if got := offeredTokens(http.Header{availableProtocols: tt.fields}); !slices.Equal(got, tt.want) {
				t.Errorf("offeredTokens(%q) = %q, want %q", tt.fields, got, tt.want)
			}
		})
	}
}

func TestChosenToken(t *testing.T) {
	offered := []string{"moqt-22", "moqt-18"}
	for _, tt := range []struct {
		name   string
		fields []string
		want   string
		noEcho bool
	}{
		{"chosen", []string{`"moqt-18"`}, "moqt-18", false},
		{"missing", nil, "", true},
		{"not offered", []string{`"moqt-17"`}, "", false},
		{"not a string", []string{`moqt-18`}, "", false},
		{"malformed", []string{`"`}, "", false},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			h := http.Header{}
			if tt.fields != nil {
				h[chosenProtocol] = tt.fields
			}
			got, err := chosenToken(h, offered)
			if got != tt.want || (err == nil) != (tt.want != "") || errors.Is(err, errNoEcho) != tt.noEcho {
				t.Errorf("chosenToken(%q) = %q, %v, want %q", tt.fields, got, err, tt.want)
			}
		})
	}
}

// FuzzTokens checks that what a client offers can be offered again, chosen, and
// told to people.
func FuzzTokens(f *testing.F) {
	f.Add(`"moq-lite-05", "moqt-18"`)
	f.Add(`"a";q=1, "b\\"`)
	f.Add(`("a")`)
	f.Fuzz(func(t *testing.T, field string) {
		tokens := offeredTokens(http.Header{availableProtocols: {field}})
		if text := quoted(tokens); len(text) > 16*300 {
			t.Fatalf("quoted(%q) has %d bytes", tokens, len(text))
		}
		if len(tokens) == 0 {
			return
		}
		h := http.Header{}
		if err := setOffered(h, tokens); err != nil {
			t.Fatal(err)
		}
		if again := offeredTokens(h); !slices.Equal(again, tokens) {
			t.Fatalf("%q -> %q -> %q", field, tokens, again)
		}
		if err := setChosen(h, tokens[0]); err != nil {
			t.Fatal(err)
		}
		if got, err := chosenToken(h, tokens); err != nil || got != tokens[0] {
			t.Fatalf("chosenToken = %q, %v, want %q", got, err, tokens[0])
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add("moqt://relay.example:4443/live?token=x")
	f.Add("https://[::1]:4443?a=b#c")
	f.Fuzz(func(t *testing.T, raw string) {
		target, err := parseTarget(raw)
		if err != nil {
			return
		}
		if target.host == "" || target.port == 0 || strings.Contains(target.String(), "?") {
			t.Fatalf("parseTarget(%q) = %+v", raw, target)
		}
		if _, _, err := SetupOptions(raw); err != nil {
			t.Fatal(err)
		}
	})
}
