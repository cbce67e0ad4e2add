package track

import (
	"slices"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestRequestGroup(t *testing.T) {
	name := Name{Namespace: MustNamespace("a"), Name: "t"}
	offers := NewProperties(Property{Type: wire.PropDynamicGroups, Uint: 1})
	type step struct {
		write bool   // of a group with the ID n, else a request for n
		n     uint64 //
		pass  bool   // the request is passed on
	}
	for _, tt := range []struct {
		name  string
		props Properties
		steps []step
	}{
		{"12.6 not offered", nil, []step{{n: 0}, {n: 5}}},
		{"10.2.13 nothing known", offers, []step{{n: 0, pass: true}}},
		{"10.2.13 outstanding with as great a value", offers, []step{{n: 3, pass: true}, {n: 3}, {n: 0}, {n: 2}, {n: 4, pass: true}}},
		{"10.2.13 not beyond the largest group", offers, []step{{write: true, n: 7}, {n: 7}, {n: 1}, {n: 8, pass: true}}},
		{"10.2.13 none known is asked for always", offers, []step{{write: true, n: 7}, {n: 0, pass: true}, {n: 0}}},
		{"10.2.13 outstanding until the largest group grows", offers, []step{
			{write: true, n: 7}, {n: 8, pass: true}, {n: 8}, {write: true, n: 8}, {n: 8}, {n: 9, pass: true}, {write: true, n: 9}, {n: 0, pass: true},
		}},
		{"10.2.13 the first group answers", offers, []step{{n: 0, pass: true}, {write: true}, {n: 0, pass: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := New(name, Info{Properties: tt.props}, Config{})
			if tr.RequestGroup(0) {
				t.Error("a request that nobody takes is passed on")
			}
			var asked, want []uint64
			tr.OnGroupRequest(func(n uint64) { asked = append(asked, n) })
			for i, s := range tt.steps {
				if s.write {
					w, err := tr.Subgroup(SubgroupHeader{Group: s.n, FirstObject: true})
					if err != nil {
						t.Fatal(err)
					}
					if err := w.WriteObject(Object{}); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if got := tr.RequestGroup(s.n); got != s.pass {
					t.Errorf("step %d: passed on: %t, want %t", i, got, s.pass)
				}
				if s.pass {
					want = append(want, s.n)
				}
			}
			if !slices.Equal(asked, want) {
				t.Errorf("asked for %v, want %v", asked, want)
			}
		})
	}
}
