package main

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestRequestError checks that every refusal's reason begins with auth_failed,
// and that it tells a peer nothing but what was meant for it.
func TestRequestError(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want track.RequestError
	}{
		{
			"the loopback rule", auth.Loopback{Enabled: true}.Peer("192.0.2.7:5000"),
			track.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed: only this machine may publish or play without a stream key (sk) or a playback token (tok)"},
		},
		{
			"an expired token", &auth.CredentialError{Code: auth.CodeExpired, Reason: "the token has expired"},
			track.RequestError{Code: wire.RequestExpiredAuthToken, Reason: "auth_failed: the token has expired"},
		},
		{
			"an error of our own", errors.New("open keys: permission denied"),
			track.RequestError{Code: wire.RequestUnauthorized, Reason: "auth_failed"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := errors.AsType[*track.RequestError](requestError(tt.err))
			if !ok || got.Code != tt.want.Code || got.Reason != tt.want.Reason {
				t.Errorf("requestError(%v) = %+v, want %+v", tt.err, got, tt.want)
			}
		})
	}
}

// A page from elsewhere may open a session only where a credential decides
// about it: with anything else in its query the loopback rule would.
func TestShowsKey(t *testing.T) {
	for query, want := range map[string]bool{"": false, "x=1": false, "token=a": false, "tok=": true, "tok=a": true, "sk=a": true} {
		if got := showsKey(httptest.NewRequest("CONNECT", "/playback/cam?"+query, nil)); got != want {
			t.Errorf("showsKey(%q) = %t, want %t", query, got, want)
		}
	}
}
