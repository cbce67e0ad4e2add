package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// Wrong keys are taken in a bounded number, and who is to blame alone pays.
func TestB16_Limiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.sign("ed", "", Ed25519)
		sk, _ := b.key("", "stream", "local", "cam")
		g := openGate(t, Config{Directory: b})
		token, from := b.token(t, "ed", nil), attempt{far.Addr(), "cam"}
		if got := try(t, g, token, from); got != 0 {
			t.Fatalf("code %d", got)
		}
		wrong := streamKeyPrefix + "a_b"
		tries := 0
		for try(t, g, wrong, from) == CodeUnknown {
			tries++
		}
		if tries != failuresByInput {
			t.Errorf("%d wrong keys were looked at, want %d", tries, failuresByInput)
		}
		for _, tt := range []struct {
			name string
			key  string
			a    attempt
			want Code
		}{
			{"a right key from there", sk, from, CodeLimited},
			{"a token that was seen", token, from, 0},
			{"another address", sk, attempt{netip.MustParseAddr("192.0.2.8"), "cam"}, 0},
			{"another input", sk, attempt{far.Addr(), "other"}, 0},
			{"the same address mapped", sk, attempt{netip.MustParseAddr("::ffff:192.0.2.7"), "cam"}, CodeLimited},
		} {
			if got := try(t, g, tt.key, tt.a); got != tt.want {
				t.Errorf("%s: code %d, want %d", tt.name, got, tt.want)
			}
		}
		for i := 0; try(t, g, wrong, attempt{far.Addr(), fmt.Sprint(i)}) == CodeUnknown; i++ {
			tries++
		}
		if tries != failuresByAddress {
			t.Errorf("%d wrong keys of one address were looked at, want %d", tries, failuresByAddress)
		}
		time.Sleep(refillByInput)
		if got := try(t, g, sk, from); got != 0 {
			t.Errorf("after %v: code %d, want it taken", refillByInput, got)
		}
	})
}

func TestB16_LimiterIsBounded(t *testing.T) {
	var l limiter
	now := time.Now()
	for i := range 3 * maxFailing {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0, byte(i >> 16), byte(i >> 8), byte(i)})
		l.failed(now, a, fmt.Sprint(i))
	}
	if n := len(l.young) + len(l.old); n > maxFailing {
		t.Errorf("%d are remembered, want %d at most", n, maxFailing)
	}
	same := block(netip.MustParseAddr("2001:db8::1"))
	if block(netip.MustParseAddr("2001:db8::ffff:1")) != same || block(netip.MustParseAddr("2001:db8:0:1::1")) == same {
		t.Error("an IPv6 address does not stand for its /64")
	}
}
