//go:build !race

package wire

import "testing"

// The data plane does not allocate: every object of every viewer goes through
// it. The race detector allocates on its own, hence the build tag.
func TestDataPlaneDoesNotAllocate(t *testing.T) {
	subgroup := SubgroupHeader{Alias: 7, Group: 1 << 40, Subgroup: 3, Priority: 128, Properties: true}.Append(nil)
	object := ObjectHeader{Properties: gap, Length: 1 << 20}.Append(nil, true)
	datagram := Datagram{Alias: 7, Group: 1 << 40, Object: 3, Properties: gap, Payload: make([]byte, 1000)}
	packet := datagram.Append(nil)
	w := NewFetchWriter(GroupAscending)
	fetched, err := w.Append(nil, FetchObject{Group: 1 << 40, Object: 3, Subgroup: 9, Priority: 128, Properties: gap, Length: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	frame, err := AppendMessage(nil, Subscribe{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	var sink uint64
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"AppendVarint", func() { buf = AppendVarint(buf[:0], 1<<50) }},
		{"ParseVarint", func() { sink, _, _ = ParseVarint(object) }},
		{"ParseStreamType", func() { _, _, _ = ParseStreamType(subgroup) }},
		{"SubgroupHeader.Append", func() { buf = SubgroupHeader{Alias: 7, Group: 9}.Append(buf[:0]) }},
		{"ParseSubgroupHeader", func() { h, _, _ := ParseSubgroupHeader(subgroup); sink = h.Group }},
		{"ParseSubgroupHeader, short", func() { _, _, _ = ParseSubgroupHeader(subgroup[:4]) }},
		{"ObjectHeader.Append", func() { buf = ObjectHeader{Properties: gap, Length: 5}.Append(buf[:0], true) }},
		{"ParseObjectHeader", func() { h, _, _ := ParseObjectHeader(object, true); sink = h.Length }},
		{"ParseObjectHeader, short", func() { _, _, _ = ParseObjectHeader(object[:4], true) }},
		{"ObjectIDs", func() { var ids ObjectIDs; sink, _ = ids.Next(3) }},
		{"Datagram.Append", func() { buf = datagram.Append(buf[:0]) }},
		{"ParseDatagram", func() { d, _ := ParseDatagram(packet); sink = d.Group }},
		{"FetchWriter", func() { w := NewFetchWriter(0); buf, _ = w.Append(buf[:0], FetchObject{Group: 5}) }},
		{"FetchReader", func() { r := NewFetchReader(0); o, _, _ := r.Parse(fetched); sink = o.Group }},
		{"FetchReader, short", func() { r := NewFetchReader(0); _, _, _ = r.Parse(fetched[:9]) }},
		{"ParseFrame", func() { _, _, n, _ := ParseFrame(frame); sink = uint64(n) }},
		{"Properties.Uint", func() { sink, _ = gap.Uint(PropPriorObjectIDGap) }},
		{"Properties.All", func() {
			for kv := range gap.All() {
				sink = kv.Uint
			}
		}},
		{"Properties.CheckObject", func() { _ = gap.CheckObject(Location{9, 9}) }},
		{"Namespace.HasPrefix", func() { _ = cam.HasPrefix(cam) }},
	} {
		if got := testing.AllocsPerRun(100, tt.f); got != 0 {
			t.Errorf("%s: %v allocations", tt.name, got)
		}
	}
	_ = sink
}
