package sealing

import (
	"bytes"
	"testing"
)

// TestSealed: what was encrypted for one record opens in no other, and not after
// a change.
func TestSealed(t *testing.T) {
	s := Keys{Pepper: bytes.Repeat([]byte{1}, Size), Sealing: bytes.Repeat([]byte{2}, Size)}
	box := s.Seal("li_1", "pull", []byte("text"))
	if text, err := s.Unseal("li_1", "pull", box); err != nil || string(text) != "text" {
		t.Errorf("unseal = %q, %v", text, err)
	}
	if again := s.Seal("li_1", "pull", []byte("text")); bytes.Equal(again.Data, box.Data) {
		t.Error("the same text is encrypted to the same")
	}
	for name, open := range map[string]func() ([]byte, error){
		"another record": func() ([]byte, error) { return s.Unseal("li_2", "pull", box) },
		"another field":  func() ([]byte, error) { return s.Unseal("li_1", "backup", box) },
		"another key": func() ([]byte, error) {
			return Keys{Sealing: bytes.Repeat([]byte{3}, Size)}.Unseal("li_1", "pull", box)
		},
		"cut":   func() ([]byte, error) { return s.Unseal("li_1", "pull", &Box{box.Key, box.Data[:5]}) },
		"empty": func() ([]byte, error) { return s.Unseal("li_1", "pull", &Box{Key: box.Key}) },
		"changed": func() ([]byte, error) {
			data := bytes.Clone(box.Data)
			data[len(data)-1] ^= 1
			return s.Unseal("li_1", "pull", &Box{box.Key, data})
		},
	} {
		if text, err := open(); err == nil {
			t.Errorf("%s: opened %q", name, text)
		}
	}
}
