package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
)

// connect opens the WebTransport session on qc. On failure the caller closes qc.
func connect(ctx context.Context, qc *quic.Conn, t target, tokens []string, assume bool) (*wtConn, error) {
	tr := &http3.Transport{
		EnableDatagrams:        true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		AdditionalSettings:     map[uint64]uint64{settingDraft02: 1, settingEnabled: 1},
	}
	raw := tr.NewRawClientConn(qc)
	d := newDemux(qc, raw.HandleUnidirectionalStream, raw.HandleBidirectionalStream)
	go d.run() // until the connection ends

	fail := func(kind error, status int, err error) (*wtConn, error) {
		if cause := context.Cause(ctx); cause != nil {
			kind, err = ErrUnreachable, cause
		}
		return nil, &DialError{Target: t.String(), Kind: kind, Status: status, Err: err}
	}
	select {
	case <-raw.ReceivedSettings():
	case <-qc.Context().Done():
		return fail(ErrUnreachable, 0, context.Cause(qc.Context()))
	}
	req, err := connectRequest(t, tokens, raw.Settings())
	if err != nil {
		return fail(ErrRefused, 0, err)
	}
	str, err := raw.OpenRequestStream(ctx)
	if err != nil {
		return fail(ErrUnreachable, 0, err)
	}
	if err := str.SendRequestHeader(req); err != nil {
		return fail(ErrUnreachable, 0, err)
	}
	rsp, err := str.ReadResponse()
	if err != nil {
		return fail(ErrUnreachable, 0, err)
	}
	if rsp.StatusCode < 200 || rsp.StatusCode > 299 {
		return fail(ErrRefused, rsp.StatusCode, statusError(rsp, str, t.query))
	}
	token, err := chosenToken(rsp.Header, tokens)
	if errors.Is(err, errNoEcho) && assume {
		token, err = tokens[0], nil
	}
	if err != nil {
		return fail(ErrRefused, 0, err)
	}
	conn := newWTConn(qc, str, moqt.ConnInfo{Protocol: token, Client: true})
	go conn.run() // until the connection ends
	d.attach(conn)
	return conn, nil
}

// connectRequest builds the CONNECT request in the form that the server's
// SETTINGS ask for.
func connectRequest(t target, tokens []string, s *http3.Settings) (*http.Request, error) {
	req := &http.Request{
		Method: http.MethodConnect,
		Proto:  protocolH3,
		Host:   t.authority,
		Header: http.Header{},
	}
	switch {
	case !s.EnableExtendedConnect || !s.EnableDatagrams:
		return nil, errors.New("the server offers HTTP/3 without WebTransport")
	case s.Other[settingEnabled] != 0:
	case s.Other[settingMaxSessions] != 0:
		req.Proto = protocolLegacy
	case s.Other[settingDraft02] != 0:
		req.Proto = protocolLegacy
		req.Header.Set("Sec-Webtransport-Http3-Draft02", "1")
	default:
		return nil, errors.New("the server offers HTTP/3 without WebTransport")
	}
	u, err := url.ParseRequestURI(t.requestURI())
	if err != nil {
		return nil, errors.New("the path cannot be requested")
	}
	u.Scheme, u.Host = "https", t.authority
	req.URL = u
	return req, setOffered(req.Header, tokens)
}

// statusError quotes the beginning of a refusal's body, without the query
// should the server have put it there.
func statusError(rsp *http.Response, str *http3.RequestStream, query string) error {
	const most = 512
	_ = str.SetReadDeadline(time.Now().Add(time.Second))
	body, _ := io.ReadAll(io.LimitReader(rsp.Body, most))
	text := strings.TrimSpace(string(body))
	if query != "" {
		text = strings.ReplaceAll(text, query, "…")
	}
	status := strconv.Itoa(rsp.StatusCode) + " " + http.StatusText(rsp.StatusCode)
	if text == "" {
		return fmt.Errorf("HTTP status %s", status)
	}
	return fmt.Errorf("HTTP status %s: %.512q", status, text)
}
