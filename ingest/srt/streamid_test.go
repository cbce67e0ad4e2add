package srt

import (
	"errors"
	"strings"
	"testing"
)

func TestParseStreamID(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want StreamID
		code Code // of the refusal; 0: none
	}{
		{in: "lv_1:sk_live_a_b", want: StreamID{Name: "lv_1", Key: "sk_live_a_b"}},
		{in: "cam", want: StreamID{Name: "cam"}},
		{in: "cam:", want: StreamID{Name: "cam"}},
		{in: "cam:a:b", want: StreamID{Name: "cam", Key: "a:b"}},
		{in: "#!::r=lv_1,m=publish,u=me,s=sk", want: StreamID{Name: "lv_1", User: "me", Key: "sk"}},
		{in: "#!::s=sk=,m=publish,t=stream,h=live.example,x=1,r=lv_1", want: StreamID{Name: "lv_1", Key: "sk="}},
		{in: "%23!::r=cam,m=publish,s=sk", want: StreamID{Name: "cam", Key: "sk"}},
		{in: "#!::r=cam,m=request", want: StreamID{Name: "cam", Play: true}},
		{in: "#!::r=cam", want: StreamID{Name: "cam", Play: true}},
		{in: "publish:cam", want: StreamID{Name: "cam"}},
		{in: "publish:cam:me:k:k", want: StreamID{Name: "cam", User: "me", Key: "k:k"}},
		{in: "read:cam:me:k", want: StreamID{Name: "cam", User: "me", Key: "k", Play: true}},
		{in: "request:cam", want: StreamID{Name: "cam", Play: true}},
		{in: strings.Repeat("n", maxName), want: StreamID{Name: strings.Repeat("n", maxName)}},
		{in: "cam:" + strings.Repeat("k", maxStreamID-4), want: StreamID{Name: "cam", Key: strings.Repeat("k", maxStreamID-4)}},

		{in: "", code: BadRequest},
		{in: "cam:" + strings.Repeat("k", maxStreamID-3), code: BadRequest},
		{in: strings.Repeat("n", maxName+1), code: BadRequest},
		{in: ":key", code: BadRequest},
		{in: ".cam", code: BadRequest},
		{in: "../cam:k", code: BadRequest},
		{in: "live/cam", code: BadRequest},
		{in: "cam\n", code: BadRequest},
		{in: "cam k", code: BadRequest},
		{in: "kamé", code: BadRequest},
		{in: "publish", code: BadRequest},
		{in: "publish:", code: BadRequest},
		{in: "publish:cam:key", code: BadRequest},
		{in: "#!::", code: BadRequest},
		{in: "#!{r=cam}", code: BadRequest},
		{in: "#!::r=../..,m=publish", code: BadRequest},
		{in: "#!::r=a,r=b,m=publish", code: BadRequest},
		{in: "#!::r=a,m=publish,s", code: BadRequest},
		{in: "#!::m=publish", code: BadRequest},
		{in: "#!::r=cam,m=bidirectional", code: BadMode},
		{in: "#!::r=cam,m=publish,t=file", code: UnsupportedMedia},
	} {
		t.Run(tt.in[:min(len(tt.in), 40)], func(t *testing.T) {
			got, err := ParseStreamID(tt.in)
			var code Code
			if r, ok := errors.AsType[*Refusal](err); ok {
				code = r.Code
			}
			if got != tt.want || code != tt.code || (err == nil) != (code == 0) {
				t.Errorf("ParseStreamID(%.60q) = %+v, %v, want %+v, code %d", tt.in, got, err, tt.want, tt.code)
			}
		})
	}
}

// FuzzParseStreamID: what is read is a name that is safe anywhere, and reads the
// same in the standard form, where that can say it; a refusal shows nothing of a
// key.
func FuzzParseStreamID(f *testing.F) {
	for _, s := range []string{
		"lv_1:sk", "#!::r=lv_1,m=publish,u=me,s=sk", "publish:cam:me:secret", "read:cam", "#!::r=../..", "#!{r=cam}", "cam", "a:b:c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		id, err := ParseStreamID(in)
		if err != nil {
			if _, ok := errors.AsType[*Refusal](err); !ok || id != (StreamID{}) {
				t.Fatalf("%q: %+v, %v", in, id, err)
			}
			return
		}
		if !validName(id.Name) || strings.ContainsAny(id.Name, "/\\%\n\x00") || id.Name == ".." {
			t.Fatalf("%q names %q", in, id.Name)
		}
		text := id.String()
		if strings.Contains(id.User+id.Key, ",") || len(text) > maxStreamID {
			return
		}
		if again, err := ParseStreamID(text); err != nil || again != id {
			t.Fatalf("%q -> %+v -> %q -> %+v, %v", in, id, text, again, err)
		}
	})
}
