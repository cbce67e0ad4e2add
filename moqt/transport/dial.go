package transport

import (
	"context"
	"errors"
	"net/netip"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Dial opens a MoQT connection as a client:
//
//	moqt://host[:port][/path][?query]   raw QUIC; moq:// is the same
//	https://host[:port][/path][?query]  WebTransport
//
// The port is 443 if none is given (section 3.1). On raw QUIC the path travels
// in the client's SETUP: see SetupOptions. A host with several addresses is
// tried at all of them, 250 ms apart, and the first to answer is taken.
//
// ctx bounds the dial, not the connection, whose goroutines end when it has
// ended. The error is a *DialError, which wraps ErrRefused, ErrUnreachable or
// ErrUntrusted. It never holds the URL's query.
func Dial(ctx context.Context, url string, cfg DialConfig) (moqt.Conn, error) {
	t, err := parseTarget(url)
	if err != nil {
		return nil, &DialError{Target: t.String(), Err: err}
	}
	cfg, err = cfg.checked()
	if err != nil {
		return nil, &DialError{Target: t.String(), Err: err}
	}
	addrs, err := t.resolve(ctx)
	if err != nil {
		return nil, &DialError{Target: t.String(), Kind: ErrUnreachable, Err: err}
	}
	if !t.webTransport {
		return dialRaw(ctx, t, addrs, cfg)
	}
	conn, err := dialWebTransport(ctx, t, addrs, cfg, cfg.Protocols, false)
	if !errors.Is(err, errNoEcho) || len(cfg.Protocols) == 1 {
		return conn, err
	}
	// Some servers accept one of several versions without saying which. Offered
	// one alone, accepting it is an answer too.
	for _, token := range cfg.Protocols {
		if conn, err = dialWebTransport(ctx, t, addrs, cfg, []string{token}, true); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// dialRaw opens a connection on raw QUIC.
func dialRaw(ctx context.Context, t target, addrs []netip.AddrPort, cfg DialConfig) (moqt.Conn, error) {
	qc, err := dialQUIC(ctx, addrs, t, cfg, cfg.Protocols)
	if err != nil {
		return nil, err
	}
	conn := newQUICConn(qc, true)
	if !qc.ConnectionState().SupportsDatagrams.Remote {
		const reason = "QUIC datagrams are required (section 3.1)"
		_ = conn.CloseWithError(wire.SessionProtocolViolation, reason)
		return nil, &DialError{Target: t.String(), Kind: ErrRefused, Err: errors.New(reason)}
	}
	return conn, nil
}

// dialWebTransport opens a connection on WebTransport that offers tokens.
// Without an echo of one it fails with errNoEcho, unless assume takes the one
// token that was offered for chosen.
func dialWebTransport(ctx context.Context, t target, addrs []netip.AddrPort, cfg DialConfig, tokens []string, assume bool) (moqt.Conn, error) {
	qc, err := dialQUIC(ctx, addrs, t, cfg, []string{http3.NextProtoH3})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeRequestCanceled), "") })
	conn, err := connect(ctx, qc, t, tokens, assume)
	if !stop() && err == nil {
		err = &DialError{Target: t.String(), Kind: ErrUnreachable, Err: context.Cause(ctx)}
	}
	if err != nil {
		_ = qc.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return nil, err
	}
	return conn, nil
}
