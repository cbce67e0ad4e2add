package edge

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

func TestCheckJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth)
	for _, tt := range []struct {
		name, body, want string // want is field: reason; empty: it is fine
	}{
		{"object", `{"a": [1, {"b": null}], "c": "d"}`, ""},
		{"scalar", ` 1e9 `, ""},
		{"as deep as may be", deep, ""},
		{"too deep", "[" + deep + "]", "[0].a"},
		{"far too deep", strings.Repeat("[", 100_000), "nest"},
		{"a name twice", `{"a":{"b":1,"b":1}}`, "a.b: the name stands twice"},
		{"a name twice, escaped", `{"a":1,"\u0061":1}`, "a: the name stands twice"},
		{"a name twice in a list", `{"l":[{},{"x":1,"x":2}]}`, "l[1].x: the name"},
		{"the same name in two objects", `[{"a":1},{"a":1}]`, ""},
		{"names that differ in case", `{"a":1,"A":1}`, ""}, // CheckNames sees to those
		{"two values", `{} {}`, "follows"},
		{"rubbish behind", `{}x`, "follows"},
		{"cut off", `{"a":`, "too early"},
		{"cut off in a list", `[1,`, "too early"},
		{"empty", ``, "too early"},
		{"a comma too many", `{"a":1,}`, "no JSON"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "UTF-8"},
		{"NaN", `{"a":NaN}`, "no JSON"},
		{"a long name twice", `{"` + strings.Repeat("x", 500) + `":1,"` + strings.Repeat("x", 500) + `":1}`, "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if f := CheckJSON([]byte(tt.body)); f != nil {
				got = f.Field + ": " + f.Reason
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("CheckJSON(%.80s) = %.200q, want %q", tt.body, got, tt.want)
			}
			if len(got) > 2*MaxField {
				t.Errorf("the fault has %d bytes", len(got))
			}
		})
	}
}

// What CheckJSON lets pass, encoding/json reads, and the other way round but
// for what is checked besides.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `{"a":1,"a":2}`, `[[]]`, `1e999`, `"\ud800"`, `{"":{}}`, "\t[\n]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fault := CheckJSON(body)
		if valid := json.Valid(body); fault == nil && !valid {
			t.Errorf("CheckJSON lets pass what is no JSON: %q", body)
		} else if valid && fault != nil && !strings.Contains(fault.Reason, "twice") && !strings.Contains(fault.Reason, "deeper") && !strings.Contains(fault.Reason, "UTF-8") {
			t.Errorf("CheckJSON refuses %q: %s", body, fault.Reason)
		}
	})
}

func TestCheckNames(t *testing.T) {
	type inner struct {
		Level int `json:"level"`
	}
	type body struct {
		Name string         `json:"name"`
		List []inner        `json:"list"`
		Any  map[string]any `json:"any"`
	}
	r := huma.NewMapRegistry("#/", huma.DefaultSchemaNamer)
	s := huma.SchemaFromType(r, typeOf[body]())
	for _, tt := range []struct{ body, want string }{
		{`{"name":"x","list":[{"level":1}],"any":{"Name":{"Any":1}}}`, ""},
		{`{"Name":"x"}`, "Name"},
		{`{"list":[{"level":1},{"LEVEL":1}]}`, "list[1].LEVEL"},
		{`{"other":1}`, "other"},
		{`[{"Name":1}]`, ""}, // it is huma's to say that this is no object
	} {
		var v any
		if err := json.Unmarshal([]byte(tt.body), &v); err != nil {
			t.Fatal(err)
		}
		got := ""
		if f := CheckNames(r, s, v, ""); f != nil {
			got = f.Field
		}
		if got != tt.want {
			t.Errorf("CheckNames(%s) = %q, want %q", tt.body, got, tt.want)
		}
	}
}
