package moqt_test

import (
	"testing"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestLargestObjectForOldPlayers is about the one answer that the stock player
// @moq/watch 0.4 cannot read.
func TestLargestObjectForOldPlayers(t *testing.T) {
	solicit := wire.KeyValue{Type: 0x40b5a, Uint: 1}
	hop := wire.KeyValue{Type: 0x40b55, Bytes: []byte("12345678")}
	at := &wire.Location{Group: 2, Object: 0}
	for _, tt := range []struct {
		name  string
		setup wire.Setup
		want  *wire.Location
	}{
		{"@moq/net 0.2", wire.Setup{Implementation: "moq-lite-js", Other: []wire.KeyValue{solicit}}, nil},
		{"@moq/net 0.3", wire.Setup{Implementation: "moq-lite-js", Other: []wire.KeyValue{hop, solicit}}, at},
		{"any other", wire.Setup{Implementation: "other", Other: []wire.KeyValue{solicit}}, at},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(tt.setup)
				tr := track.New(video, track.Info{}, track.Config{})
				if _, err := s.Announce(t.Context(), video.Namespace, tracks{video.Name: tr}); err != nil {
					t.Fatal(err)
				}
				writeGroup(t, tr, 2, 1)
				st := p.Open(sub(0))
				st.Expect(wire.SubscribeOK{TrackAlias: 1, Params: wire.Params{LargestObject: tt.want}})
				st.Send(wire.RequestUpdate{RequestID: 2})
				st.Expect(wire.RequestOK{Params: wire.Params{LargestObject: tt.want}})
			})
		})
	}
}
