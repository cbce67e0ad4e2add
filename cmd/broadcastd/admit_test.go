package main

import (
	"errors"
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
