package main

import (
	"testing"

	"github.com/broadcastd/broadcastd/moqt/track"
)

func TestInputNames(t *testing.T) {
	for _, tt := range []struct {
		fields []string
		input  string // empty: it is none
	}{
		{[]string{"stream", "local", "cam"}, "cam"},
		{[]string{"stream", "acme", "cam"}, "acme/cam"},
		{[]string{"stream", "acme", "a/b"}, ""},
		{[]string{"stream", "a/b", "c"}, ""},
		{[]string{"stream", "acme"}, ""},
		{[]string{"stream", "acme", "cam", "2"}, ""},
		{[]string{"other", "acme", "cam"}, ""},
	} {
		ns := track.MustNamespace(tt.fields...)
		input, ok := inputOf(ns)
		if input != tt.input || ok != (tt.input != "") {
			t.Errorf("inputOf(%q) = %q, %t, want %q", tt.fields, input, ok, tt.input)
		}
		if !ok {
			continue
		}
		if back, err := namespaceOf(input); err != nil || back != ns {
			t.Errorf("namespaceOf(%q) = %v, %v", input, back, err)
		}
	}
}
