package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"testing"
)

func unhexBytes(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of section 1.4.1, and the edges of each length.
func TestVarint(t *testing.T) {
	for _, tt := range []struct {
		hex   string
		value uint64
	}{
		{"25", 37},
		{"bbbd", 15293},
		{"ed7f3e7d", 226442877},
		{"faa1a0e403d8", 2893212287960},
		{"fc8998abc66bc0", 151288809941952},
		{"fefa318fa8e3ca11", 70423237261249041},
		{"ffffffffffffffffff", math.MaxUint64},
		{"af00", uint64(TypeSetup)},
		{"00", 0},
		{"7f", 127},
		{"8080", 128},
		{"bfff", 1<<14 - 1},
		{"c04000", 1 << 14},
		{"dfffff", 1<<21 - 1},
		{"e0200000", 1 << 21},
		{"efffffff", 1<<28 - 1},
		{"f010000000", 1 << 28},
		{"f7ffffffff", 1<<35 - 1},
		{"f80800000000", 1 << 35},
		{"fbffffffffff", 1<<42 - 1},
		{"fc040000000000", 1 << 42},
		{"fdffffffffffff", 1<<49 - 1},
		{"fe02000000000000", 1 << 49},
		{"feffffffffffffff", 1<<56 - 1},
		{"ff0100000000000000", 1 << 56},
	} {
		t.Run(fmt.Sprint(tt.value), func(t *testing.T) {
			enc := unhexBytes(t, tt.hex)
			if got := AppendVarint(nil, tt.value); !bytes.Equal(got, enc) {
				t.Errorf("AppendVarint(%d) = %x, want %x", tt.value, got, enc)
			}
			if got := VarintLen(tt.value); got != len(enc) {
				t.Errorf("VarintLen(%d) = %d, want %d", tt.value, got, len(enc))
			}
			for _, tail := range []string{"", "ff", "0102030405060708"} {
				got, n, err := ParseVarint(append(enc, unhexBytes(t, tail)...))
				if got != tt.value || n != len(enc) || err != nil {
					t.Errorf("ParseVarint(%x %s) = %d, %d, %v; want %d, %d, nil", enc, tail, got, n, err, tt.value, len(enc))
				}
			}
			for n := range enc {
				if _, _, err := ParseVarint(enc[:n]); !errors.Is(err, ErrShort) {
					t.Errorf("ParseVarint(%x) = %v, want ErrShort", enc[:n], err)
				}
			}
		})
	}
}

func TestVarintNonMinimal(t *testing.T) {
	for _, s := range []string{"8025", "c00025", "e0000025", "f000000025", "f80000000025", "fc000000000025", "fe00000000000025", "ff0000000000000025"} {
		if v, n, err := ParseVarint(unhexBytes(t, s)); v != 37 || n != len(s)/2 || err != nil {
			t.Errorf("ParseVarint(%s) = %d, %d, %v; want 37, %d, nil", s, v, n, err, len(s)/2)
		}
	}
}

func FuzzVarint(f *testing.F) {
	f.Add([]byte{0x25})
	f.Add([]byte{0xff, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0xfe, 0xfa, 0x31, 0x8f, 0xa8, 0xe3, 0xca, 0x11, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := ParseVarint(b)
		if err != nil {
			return
		}
		enc := AppendVarint(nil, v)
		if len(enc) > n || len(enc) != VarintLen(v) {
			t.Fatalf("%x is %d in %d bytes, appended as %x", b[:n], v, n, enc)
		}
		if again, m, err := ParseVarint(enc); again != v || m != len(enc) || err != nil {
			t.Fatalf("%d -> %x -> %d, %d, %v", v, enc, again, m, err)
		}
		for k := range enc {
			if _, _, err := ParseVarint(enc[:k]); !errors.Is(err, ErrShort) {
				t.Fatalf("prefix %x: %v", enc[:k], err)
			}
		}
	})
}
