package pull

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"reflect"
	"testing"
)

// sealed encrypts b as RFC 8216 section 4.3.2.4 has it for AES-128.
func sealed(t *testing.T, key string, iv, b []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pad := aes.BlockSize - len(b)%aes.BlockSize
	out := append(bytes.Clone(b), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, out)
	return out
}

// Encrypted segments come out as those in the clear: the IV given or by the
// sequence number, keys that rotate and end, a header in the clear or not.
func TestEncrypted(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		const first, second = "0123456789abcdef", "fedcba9876543210"
		o.set("/k1", first)
		o.set("/k2", second)
		iv := append(make([]byte, 14), 0x0a, 0xbc)
		number := func(n byte) []byte { return append(make([]byte, 15), n) }
		for n, key := range []string{first, first, first, second} {
			vector := number(byte(7 + n))
			if n == 2 {
				vector = iv
			}
			path := "/" + segment(n)
			o.files[path] = sealed(t, key, vector, o.files[path])
		}
		lines := []any{}
		if kind == "fmp4" { // the header that list puts in front is in the clear
			o.files["/sealed.mp4"] = sealed(t, first, iv, o.files["/init.mp4"])
			lines = append(lines, `#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0xABC`, `#EXT-X-MAP:URI="sealed.mp4"`)
		}
		lines = append(
			lines, `#EXT-X-KEY:METHOD=AES-128,URI="k1"`, 0, 1, `#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0xABC`, 2,
			`#EXT-X-KEY:METHOD=AES-128,URI="k2"`, 3, `#EXT-X-KEY:METHOD=NONE`, 4, endlist,
		)
		o.set("/x.m3u8", list(kind, segment, 7, lines...))
		c := &capture{}
		if err := o.puller(t, "/x.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		clear, _ := clip(t, kind)
		clear.set("/x.m3u8", list(kind, segment, 7, span(0, 5), endlist))
		want := &capture{}
		if err := clear.puller(t, "/x.m3u8", Config{}).Run(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"video", "audio"} {
			got, want := c.track(t, name), want.track(t, name)
			if !reflect.DeepEqual(got.chunks, want.chunks) {
				t.Errorf("%s: %s, in the clear %s", name, got.runs(), want.runs())
			}
		}
		if o.asked("/k1") != 1 || o.asked("/k2") != 1 {
			t.Errorf("keys were asked for %d and %d times", o.asked("/k1"), o.asked("/k2"))
		}
	})
}
