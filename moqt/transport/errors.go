package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What a failed Dial comes down to. Its error is a *DialError that wraps one of
// these.
var (
	// ErrRefused reports that the server answered and did not want us: an HTTP
	// status, no common version token, or too many connections.
	ErrRefused = errors.New("refused by the server")
	// ErrUnreachable reports that no answer came: a name that does not resolve,
	// a network error or a timeout.
	ErrUnreachable = errors.New("unreachable")
	// ErrUntrusted reports that the server's certificate was not accepted.
	ErrUntrusted = errors.New("certificate not accepted")
)

// A DialError says why Dial failed.
type DialError struct {
	// Target is the URL without its query, which may hold a token.
	Target string
	// Kind is ErrRefused, ErrUnreachable, ErrUntrusted, or nil for a URL or a
	// configuration that cannot work.
	Kind error
	// Status is the HTTP status that refused a WebTransport session, else 0.
	Status int
	// Err has the details.
	Err error
}

func (e *DialError) Error() string {
	if e.Kind == nil {
		return fmt.Sprintf("transport: dial %s: %v", e.Target, e.Err)
	}
	return fmt.Sprintf("transport: dial %s: %v: %v", e.Target, e.Kind, e.Err)
}

// Unwrap returns Kind and Err.
func (e *DialError) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// The TLS alert no_application_protocol (RFC 7301 section 3.2) as a QUIC error.
const noApplicationProtocol = quic.TransportErrorCode(0x100 + 120)

// handshakeError sorts a failed QUIC handshake.
func handshakeError(target string, offered []string, err error) *DialError {
	e := &DialError{Target: target, Kind: ErrUnreachable, Err: err}
	var certErr *tls.CertificateVerificationError
	var versionErr *quic.VersionNegotiationError
	var te *quic.TransportError
	switch {
	case errors.As(err, &certErr), errors.Is(err, errPin):
		e.Kind = ErrUntrusted
	case errors.As(err, &versionErr):
		e.Kind = ErrRefused
	case errors.As(err, &te) && te.ErrorCode == noApplicationProtocol:
		e.Kind = ErrRefused
		e.Err = fmt.Errorf("it speaks none of the protocols offered, %q: %w", offered, err)
	case errors.As(err, &te) && te.Remote:
		e.Kind = ErrRefused
	}
	return e
}

// quicSessionError turns what ended a QUIC connection into a SessionError.
func quicSessionError(err error) *moqt.SessionError {
	if ae, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &moqt.SessionError{
			Code:   wire.SessionCode(ae.ErrorCode),
			Reason: ae.ErrorMessage,
			Remote: ae.Remote,
		}
	}
	return lostError(err)
}

// h3SessionError does the same under WebTransport, where the connection's
// application codes are HTTP/3's.
func h3SessionError(err error) *moqt.SessionError {
	if ae, ok := errors.AsType[*quic.ApplicationError](err); ok {
		if ae.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeNoError) {
			return &moqt.SessionError{Reason: ae.ErrorMessage, Remote: ae.Remote}
		}
		return &moqt.SessionError{Code: wire.SessionInternalError, Remote: ae.Remote, Err: err}
	}
	if he, ok := errors.AsType[*http3.Error](err); ok {
		if he.ErrorCode == http3.ErrCodeNoError {
			return &moqt.SessionError{Reason: he.ErrorMessage, Remote: he.Remote}
		}
		return &moqt.SessionError{Code: wire.SessionInternalError, Remote: he.Remote, Err: err}
	}
	return lostError(err)
}

// lostError is for ends without an application code: timeouts, resets, TLS.
func lostError(err error) *moqt.SessionError {
	e := &moqt.SessionError{Code: wire.SessionInternalError, Err: err}
	if te, ok := errors.AsType[*quic.TransportError](err); ok {
		e.Remote = te.Remote
	}
	return e
}

// isTimeout reports a deadline of the caller, which ends no stream.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout() && !errors.Is(err, net.ErrClosed)
}

// isContext reports the end of a context that the caller passed.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
