package moqt_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// In this file a FETCH of the session ends.

// TestFetchExits is about every way in which a FETCH of ours ends, and what is
// known of its range then.
func TestFetchExits(t *testing.T) {
	type end func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling)
	code := func(err error) wire.ResetCode {
		se, ok := errors.AsType[*moqt.StreamError](err)
		if !ok {
			return 1 << 40
		}
		return se.Code
	}
	unknown := []string{"?" + lastOf(2)}
	begun := []string{"{1, 0}", "?" + lastOf(2)}
	for _, tt := range []struct {
		name  string
		begin bool // FETCH_OK and an object go before
		play  end
		check func(error) bool
		want  []string
	}{
		{"10.6 refused", false, func(t *testing.T, _ *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, _ *filling) {
			st.Send(wire.RequestError{Code: wire.RequestInvalidRange})
			st.Close()
			st.ExpectFIN()
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestInvalidRange
		}, unknown},
		{"10.6 refused after data has come", false, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, _ *filling) {
			data := p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0)))
			synctest.Wait()
			st.Send(wire.RequestError{Code: wire.RequestTimeout})
			data.ExpectStop(wire.ResetCancelled)
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestTimeout
		}, unknown},
		{"3.3.2 stream ended without an answer", false, func(t *testing.T, _ *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, _ *filling) {
			st.Close()
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestInternalError
		}, unknown},
		{"no answer", false, func(t *testing.T, _ *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, _ *filling) {
			st.ExpectStop(wire.ResetCancelled)
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestTimeout
		}, unknown},
		{"cancelled before the answer", false, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			f.cancel()
			f.cancel()
			st.ExpectStop(wire.ResetCancelled)
			p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0))).ExpectStop(wire.ResetCancelled)
		}, func(err error) bool { return err != nil }, unknown},
		{"5.2 cancelled", true, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			f.cancel()
			st.ExpectStop(wire.ResetCancelled)
			st.ExpectReset(wire.ResetCancelled)
		}, func(err error) bool { return code(err) == wire.ResetCancelled }, begun},
		{"5.2 request stream reset", true, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Reset(wire.ResetGoingAway)
		}, func(err error) bool { return code(err) == wire.ResetGoingAway }, begun},
		{"the session closes", true, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			p.Conn.CloseWithError(wire.SessionNoError, "")
		}, func(err error) bool {
			_, ok := errors.AsType[*moqt.SessionError](err)
			return ok
		}, begun},
		{"the session closes before the answer", false, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			p.Conn.CloseWithError(wire.SessionNoError, "")
		}, func(err error) bool {
			_, ok := errors.AsType[*moqt.SessionError](err)
			return ok
		}, unknown},
		{"10.4 GOAWAY for the request", true, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.Goaway{Timeout: time.Second})
			st.ExpectStop(wire.ResetCancelled)
		}, func(err error) bool { return code(err) == wire.ResetGoingAway }, begun},
		{"10.4 GOAWAY for the request before the answer", false, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.Goaway{Timeout: time.Second})
			st.ExpectStop(wire.ResetCancelled)
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestGoingAway
		}, unknown},
		{"2.5.1 mandatory property", false, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session, st *moqttest.PeerStream, f *filling) {
			data := p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0)))
			synctest.Wait()
			st.Send(wire.FetchOK{End: at(2, 0), Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})})
			st.ExpectStop(wire.ResetCancelled)
			data.ExpectStop(wire.ResetCancelled)
		}, func(err error) bool {
			re, ok := errors.AsType[*moqt.RequestError](err)
			return ok && re.Code == wire.RequestUnsupportedExtension
		}, unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
				if tt.begin {
					st.Send(wire.FetchOK{End: at(2, 0)})
					p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0)))
					synctest.Wait()
				}
				tt.play(t, p, s, st, f)
				if err := <-f.started; (err == nil) != tt.begin {
					t.Errorf("started with %v", err)
				}
				if err := <-f.done; !tt.check(err) {
					t.Errorf("done with %v", err)
				}
				if got := f.items(t); !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
	for _, reset := range []wire.ResetCode{
		wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetSessionClosed, wire.ResetGoingAway,
		wire.ResetTooFarBehind, wire.ResetUnknownObjectStatus, wire.ResetExpiredAuthToken, wire.ResetExcessiveLoad, wire.ResetMalformedTrack, 0x4242,
	} {
		t.Run("3.3.3 data stream reset with "+reset.String(), func(t *testing.T) {
			filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
				st.Send(wire.FetchOK{End: at(2, 0)})
				data := p.OpenUni(fetchHeader, fetchItems(0, fetchObject(1, 0)))
				synctest.Wait()
				data.Reset(reset)
				if err := <-f.done; code(err) != reset {
					t.Errorf("done with %v, want %v", err, reset)
				}
				if got := f.items(t); !slices.Equal(got, begun) {
					t.Errorf("got %v, want %v", got, begun)
				}
				p.ExpectOpen()
			})
		})
	}
}

// TestFetchSilence is about Limits.FetchIdle.
func TestFetchSilence(t *testing.T) {
	timeout := func(err error) bool {
		re, ok := errors.AsType[*moqt.RequestError](err)
		return ok && re.Code == wire.RequestTimeout
	}
	t.Run("no stream", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.FetchOK{End: at(2, 0)})
			start := time.Now()
			if err := <-f.done; !timeout(err) || time.Since(start) != 30*time.Second {
				t.Errorf("done after %v with %v", time.Since(start), err)
			}
			p.OpenUni(fetchHeader).ExpectStop(wire.ResetCancelled)
			p.ExpectOpen()
		})
	})
	t.Run("a stream that stalls", func(t *testing.T) {
		filler(t, moqt.Config{}, moqt.FetchOptions{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session, st *moqttest.PeerStream, f *filling) {
			st.Send(wire.FetchOK{End: at(2, 0)})
			b := fetchItems(0, fetchObject(1, 0), fetchObject(1, 1))
			data := p.OpenUni(fetchHeader)
			for i := range 10 { // slow is not silent
				time.Sleep(25 * time.Second)
				data.Send(b[200*i : 200*(i+1)])
			}
			time.Sleep(30 * time.Second)
			data.ExpectStop(wire.ResetCancelled)
			if err := <-f.done; !timeout(err) {
				t.Errorf("done with %v", err)
			}
			p.ExpectOpen()
		})
	})
}
