package wire

import (
	"fmt"
	"testing"
)

// Sizes are those of live video: 30 objects a second of some 16 KiB, a group
// every second, IDs counted from an epoch in milliseconds.
const epochGroup = 1795190400000

func BenchmarkVarint(b *testing.B) {
	for _, v := range []uint64{5, 16 << 10, epochGroup, maxID} {
		enc := AppendVarint(nil, v)
		b.Run(fmt.Sprintf("op=append/bytes=%d", len(enc)), func(b *testing.B) {
			buf := make([]byte, 0, MaxVarintLen)
			for b.Loop() {
				buf = AppendVarint(buf[:0], v)
			}
		})
		b.Run(fmt.Sprintf("op=parse/bytes=%d", len(enc)), func(b *testing.B) {
			buf := append(enc, make([]byte, 8)...)
			for b.Loop() {
				if _, _, err := ParseVarint(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSubgroupHeader(b *testing.B) {
	h := SubgroupHeader{Alias: 12, Group: epochGroup, Priority: 64, EndOfGroup: true, FirstObject: true}
	b.Run("op=append", func(b *testing.B) {
		buf := make([]byte, 0, MaxSubgroupHeader)
		for b.Loop() {
			buf = h.Append(buf[:0])
		}
	})
	b.Run("op=parse", func(b *testing.B) {
		buf := h.Append(nil)
		for b.Loop() {
			if _, _, err := ParseSubgroupHeader(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkObjectHeader(b *testing.B) {
	loc := NewProperties(KeyValue{Type: PropLOCTimestamp, Uint: epochGroup}, KeyValue{Type: PropLOCTimescale, Uint: 90000})
	for _, p := range []Properties{nil, loc} {
		h, with := ObjectHeader{Properties: p, Length: 16 << 10}, p != nil
		b.Run(fmt.Sprintf("op=append/properties=%d", len(p)), func(b *testing.B) {
			buf := make([]byte, 0, 64)
			for b.Loop() {
				buf = h.Append(buf[:0], with)
			}
		})
		b.Run(fmt.Sprintf("op=parse/properties=%d", len(p)), func(b *testing.B) {
			buf := h.Append(nil, with)
			for b.Loop() {
				if _, _, err := ParseObjectHeader(buf, with); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFetchObject(b *testing.B) {
	o := FetchObject{Group: epochGroup, Object: 3, Priority: 64, Length: 16 << 10}
	b.Run("op=append", func(b *testing.B) {
		w, buf := NewFetchWriter(GroupAscending), make([]byte, 0, 64)
		for b.Loop() {
			buf, _ = w.Append(buf[:0], o)
		}
	})
	b.Run("op=parse", func(b *testing.B) {
		w := NewFetchWriter(GroupAscending)
		buf, _ := w.Append(nil, o)
		for b.Loop() {
			r := NewFetchReader(GroupAscending)
			if _, _, err := r.Parse(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Matching a namespace against prefixes is what a relay does for every
// announcement and subscriber.
func BenchmarkNamespaceHasPrefix(b *testing.B) {
	n, p := MustNamespace("live", "studio-4", "cam-12", "1080p"), MustNamespace("live", "studio-4")
	for b.Loop() {
		if !n.HasPrefix(p) {
			b.Fatal("no prefix")
		}
	}
}

func BenchmarkSubscribe(b *testing.B) {
	body := samples()[5].message.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseSubscribe(body); err != nil {
			b.Fatal(err)
		}
	}
}
