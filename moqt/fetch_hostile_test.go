package moqt_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// In this file publishers answer a FETCH wrongly.

// TestFetchHostile is about publishers that answer a FETCH wrongly.
func TestFetchHostile(t *testing.T) {
	ok := wire.FetchOK{End: at(2, 0)}
	first := fetchItems(0, fetchObject(1, 4))
	flags := func(b ...byte) []byte { return append(slices.Clone(first), b...) }
	for _, tt := range []struct {
		name   string
		answer []any // on the request stream
		data   []any // on the data stream
		fin    bool
	}{
		{"10.13 end before the start", []any{wire.FetchOK{End: at(0, 9)}}, nil, false},
		{"10.13 end at the start", []any{wire.FetchOK{End: at(0, 0)}}, nil, false},
		{"10.13 second FETCH_OK", []any{ok, ok}, nil, false},
		{"10.13 end of track is 2", []any{frame(uint64(wire.TypeFetchOK), []byte{2, 2, 0, 0})}, nil, false},
		{"10.6 REQUEST_ERROR behind FETCH_OK", []any{ok, wire.RequestError{}}, nil, false},
		{"10 SUBSCRIBE_OK to a FETCH", []any{wire.SubscribeOK{}}, nil, false},
		{"10.9 REQUEST_UPDATE of the publisher", []any{ok, wire.RequestUpdate{RequestID: 1}}, nil, false},
		{"11.4.4 FIN inside the header", []any{ok}, []any{fetchHeader[:1]}, true},
		{"11.4 FIN inside an object's header", []any{ok}, []any{fetchHeader, first[:2]}, true},
		{"11.4 FIN inside a payload", []any{ok}, []any{fetchHeader, first[:len(first)-1]}, true},
		{"11.4.4 unknown flags", []any{ok}, []any{fetchHeader, wire.AppendVarint(nil, 0x8d)}, false},
		{"11.4.4.1 first object without a group", []any{ok}, []any{fetchHeader, []byte{0x14, 0, 1, 0}}, false},
		{"11.4.4.1 first object without a priority", []any{ok}, []any{fetchHeader, []byte{0x0c, 1, 0, 0}}, false},
		{"11.4.4.1 group beyond 2^64-1", []any{ok}, []any{fetchHeader, flags(append([]byte{0x08}, moqttest.Bytes(uint64(1<<64-1), uint64(0))...)...)}, false},
		{"11.4.4.1 object beyond 2^64-1", []any{ok}, []any{fetchHeader, flags(append([]byte{0x04}, moqttest.Bytes(uint64(1<<64-1), uint64(0))...)...)}, false},
		{"10.12.3 the same object twice", []any{ok}, []any{fetchHeader, flags(0x04, 0, 0)}, false},
		{"11.4.4.2 an object inside a range", []any{ok}, []any{fetchHeader, flags(append(fetchRangeBytes(1, 7), 0x04, 0, 0)...)}, false},
		{"11.4.4.2 a range that goes back", []any{ok}, []any{fetchHeader, flags(fetchRangeBytes(1, 2)...)}, false},
		{"11.4.4 ill-formed properties", []any{ok}, []any{fetchHeader, []byte{0x3c, 1, 0, 1, 1, 2, 0}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
				st.Send(tt.answer...)
				if tt.data != nil {
					data := p.OpenUni(tt.data...)
					if tt.fin {
						data.Close()
					}
				}
				want := wire.SessionProtocolViolation
				if strings.Contains(tt.name, "ill-formed") {
					want = wire.SessionKeyValueFormattingError
				}
				p.ExpectClose(want)
				if err := <-f.done; err == nil {
					t.Error("done without an error")
				}
			})
		})
	}
	t.Run("11.4.4 second stream", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			p.OpenUni(fetchHeader)
			p.OpenUni(fetchHeader)
			p.ExpectClose(wire.SessionProtocolViolation)
		})
	})
	for _, tt := range []struct {
		name  string
		items []byte
	}{
		{"an object behind the range", fetchItems(0, fetchObject(3, 0))},
		{"an object before the range", fetchItems(0, fetchObject(0, 5))},
		{"a range before the range", fetchItems(0, fetchRange(wire.FetchUnknown, 0, 5))},
		{"an object of 2^60 bytes", fetchItems(0, wire.FetchObject{Group: 1, Length: 1 << 60})},
		{"a mandatory property on an object", fetchItems(0, wire.FetchObject{Group: 1, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})})},
	} {
		t.Run("cancels the fetch: "+tt.name, func(t *testing.T) {
			filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
				st.Send(ok)
				data := p.OpenUni(fetchHeader, tt.items)
				data.Stopped()
				st.Stopped()
				if err := <-f.done; err == nil {
					t.Error("done without an error")
				}
				if got, want := f.items(t), []string{"?" + lastOf(2)}; !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				p.ExpectOpen()
			})
		})
	}
	t.Run("streams for requests that are none", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			for _, id := range []uint64{1, 2, 77, 1<<64 - 1} {
				p.OpenUni(wire.FetchHeader{RequestID: id}.Append(nil), first).ExpectStop(wire.ResetCancelled)
			}
			st.Send(ok)
			p.OpenUni(fetchHeader, first).Close()
			if err := <-f.done; err != nil {
				t.Errorf("done with %v", err)
			}
			p.ExpectOpen()
		})
	})
}

// fetchRangeBytes is the end of an unknown range.
func fetchRangeBytes(group, object uint64) []byte {
	return moqttest.Bytes(uint64(wire.FetchUnknown), group, object)
}
