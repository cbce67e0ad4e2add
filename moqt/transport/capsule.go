package transport

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// closeSessionCapsule is CLOSE_WEBTRANSPORT_SESSION: a 32-bit code and a reason.
const closeSessionCapsule http3.CapsuleType = 0x2843

// maxReason is the longest close reason, in bytes (section 1.4.4, and the same
// in WebTransport).
const maxReason = 1024

// appendCloseSession appends a whole CLOSE_WEBTRANSPORT_SESSION capsule to b.
func appendCloseSession(b []byte, code wire.SessionCode, reason string) []byte {
	if code > 1<<32-1 {
		code = wire.SessionInternalError // not representable, so nothing that a peer could know
	}
	b = quicvarint.Append(b, uint64(closeSessionCapsule))
	b = quicvarint.Append(b, uint64(4+len(reason)))
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

// readCloseSession reads the contents of a CLOSE_WEBTRANSPORT_SESSION capsule.
func readCloseSession(r http3.CapsuleReader) (*moqt.SessionError, error) {
	if n := r.Remaining(); n < 4 || n > 4+maxReason {
		return nil, fmt.Errorf("transport: CLOSE_WEBTRANSPORT_SESSION capsule of %d bytes, want 4 to %d", n, 4+maxReason)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("transport: CLOSE_WEBTRANSPORT_SESSION capsule: %w", err)
	}
	return &moqt.SessionError{
		Code:   wire.SessionCode(binary.BigEndian.Uint32(b)),
		Reason: string(b[4:]),
		Remote: true,
	}, nil
}

// cutReason shortens s to what a close may carry, at the end of a character.
func cutReason(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// h3Codec is WebTransport's codec: a 32-bit application code has its place among
// HTTP/3's codes, around those reserved for greasing (0x1f * N + 0x21).
type h3Codec struct{}

const (
	firstAppCode = 0x52e4a40fa8db
	lastAppCode  = 0x52e5ac983162
)

func (h3Codec) encodeReset(c wire.ResetCode) quic.StreamErrorCode {
	if c > 1<<32-1 {
		c = wire.ResetInternalError // not representable, so nothing that a peer could know
	}
	return quic.StreamErrorCode(firstAppCode + c + c/0x1e)
}

func (h3Codec) decodeReset(c quic.StreamErrorCode) (wire.ResetCode, bool) {
	switch {
	case c == wtSessionGone:
		return wire.ResetSessionClosed, true
	case c < firstAppCode || c > lastAppCode || (c-0x21)%0x1f == 0:
		return wire.ResetInternalError, false // HTTP/3's own codes
	}
	shifted := c - firstAppCode
	return wire.ResetCode(shifted - shifted/0x1f), false
}

func (h3Codec) sessionError(err error) *moqt.SessionError { return h3SessionError(err) }
