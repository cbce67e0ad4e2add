package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	api "github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// The clientFlags are what publish, view and record have in common.
type clientFlags struct {
	relay     string
	namespace string
	insecure  bool
	pins      []string
	verbose   bool
}

const relayHelp = `The relay's URL is moqt://host:port for raw QUIC or https://host:port for
WebTransport. A server with a self-signed certificate, as "broadcastd serve" has by
default, is trusted with --cert-sha256 and the hash that it prints, or with --insecure.`

const exitHelp = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 network.`

func (f *clientFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.relay, "relay", "", "`URL` of the relay, moqt://host:port or https://host:port")
	fs.StringVar(&f.namespace, "namespace", "", "the broadcast, such as stream/local/cam")
	fs.BoolVar(&f.insecure, "insecure", false, "accept any certificate")
	fs.StringSliceVar(&f.pins, "cert-sha256", nil, "accept the certificate with this SHA-256, in `HEX`; may be repeated")
	fs.BoolVar(&f.verbose, "verbose", false, "log what happens in the session")
}

// A target is the checked form of the flags.
type target struct {
	url  string
	ns   track.Namespace
	dial transport.DialConfig
}

// target checks the flags. A signed URL, as "broadcastd url sign" prints it,
// stands for --relay and --namespace both.
func (f *clientFlags) target(signed ...string) (target, error) {
	var t target
	var err error
	if len(signed) > 0 {
		t, err = f.signedTarget(signed[0])
	} else {
		t, err = f.namedTarget()
	}
	if err != nil {
		return t, err
	}
	t.dial = transport.DialConfig{Insecure: f.insecure}
	t.dial.CertSHA256, err = certPins(f.pins)
	return t, err
}

// certPins reads the hashes of --cert-sha256.
func certPins(pins []string) (sums [][]byte, err error) {
	for _, pin := range pins {
		sum, err := hex.DecodeString(strings.ReplaceAll(pin, ":", ""))
		if err != nil || len(sum) != 32 {
			return nil, usageError{fmt.Errorf("--cert-sha256 %q is not 64 hexadecimal digits", pin)}
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

func (f *clientFlags) namedTarget() (t target, err error) {
	switch _, err := parseRelay(f.relay); {
	case f.relay == "":
		return t, usageError{errors.New("--relay is missing, for example --relay moqt://localhost:4443")}
	case err != nil:
		return t, usageError{errors.New("--relay is no URL of the form moqt://host:port or https://host:port")}
	}
	if f.namespace == "" {
		return t, usageError{errors.New("--namespace is missing, for example --namespace stream/local/cam")}
	}
	ns, err := track.SplitNamespace(f.namespace)
	if err != nil {
		return t, usageError{fmt.Errorf("--namespace %q: %w", f.namespace, err)}
	}
	return target{url: f.relay, ns: ns}, nil
}

// signedTarget takes moq://, moqt:// or https://host:port/playback/<id>?tok=….
// The relay knows which namespace the path means.
func (f *clientFlags) signedTarget(signed string) (t target, err error) {
	if f.relay != "" || f.namespace != "" {
		return t, usageError{errors.New("a signed URL stands for --relay and --namespace: give one or the other")}
	}
	u, err := parseRelay(signed)
	if err != nil {
		return t, usageError{err}
	}
	verb, id, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok || verb != "playback" || id == "" {
		return t, usageError{errors.New("the URL is not of the form moqt://host:port/playback/<id>?tok=…")}
	}
	ns, err := track.NewNamespace(verb, id)
	if err != nil {
		return t, usageError{fmt.Errorf("the id in the URL: %w", err)}
	}
	return target{url: signed, ns: ns}, nil
}

// parseRelay parses a relay's URL. Its errors quote nothing, because a query
// may hold a token.
func parseRelay(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "moqt" && u.Scheme != "moq" && u.Scheme != "https" {
		return nil, errors.New("that is no URL of the form moqt://host:port or https://host:port")
	}
	return u, nil
}

// publishing returns t with the path that a stream key is shown in.
func (t target) publishing(key string) (target, error) {
	if key == "" {
		return t, nil
	}
	u, err := parseRelay(t.url)
	if err != nil {
		return t, usageError{err}
	}
	fields := t.ns.Fields()
	u.Path = "/publish/" + fields[len(fields)-1]
	u.RawQuery = url.Values{"sk": {key}}.Encode()
	t.url = u.String()
	return t, nil
}

// dialTimeout bounds the wait for a relay's answer.
const dialTimeout = 10 * time.Second

// with opens a session, runs f with a client that keeps to it, or to those that
// follow it when the relay goes away, and ends it.
func (t target) with(ctx context.Context, log *slog.Logger, f func(context.Context, *client.Client) error) error {
	c, err := client.Dial(ctx, client.Config{
		URL: t.url, Log: log, Patience: dialTimeout,
		Dial: func(ctx context.Context, url string) (*moqt.Session, error) { return t.session(ctx, url, log) },
	})
	if err != nil {
		return hint(err)
	}
	// The session outlives the interrupt, so that f can end in order.
	running, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var g errgroup.Group
	fctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g.Go(func() error {
		stop(cmpErr(c.Run(running), errPeerLeft))
		return nil
	})
	err = f(fctx, c)
	end(errDone)
	_ = g.Wait() // its one result is nil
	// What f saw of a lost session is a track that broke off, or its context.
	if ended, ok := errors.AsType[*moqt.SessionError](context.Cause(c.Session().Conn().Context())); ok && err != nil && (ended.Remote || ended.Err != nil) {
		return ended
	}
	return err
}

// session dials and makes a session, which it does not run.
func (t target) session(ctx context.Context, url string, log *slog.Logger) (*moqt.Session, error) {
	authority, path, err := transport.SetupOptions(url)
	if err != nil {
		return nil, err
	}
	conn, err := transport.Dial(ctx, url, t.dial)
	if err != nil {
		return nil, err
	}
	s, err := moqt.NewSession(conn, moqt.Config{
		Log: log, Implementation: "broadcastd/" + version, Authority: authority, Path: path,
	})
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(wire.SessionNoError, ""))
	}
	return s, nil
}

var (
	errDone     = errors.New("done")
	errPeerLeft = &moqt.SessionError{Remote: true, Reason: "the relay closed the session"}
)

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// hint says what helps against a certificate that is not trusted.
func hint(err error) error {
	if errors.Is(err, transport.ErrUntrusted) || errors.Is(err, api.ErrUntrusted) {
		return fmt.Errorf("%w; for a self-signed certificate give its hash with --cert-sha256 HEX (the server shows it at /certificate.sha256), or --insecure", err)
	}
	return err
}

// clientLog is the log of the client commands: warnings, and all of it with
// --verbose.
func (p process) clientLog(f *clientFlags) *slog.Logger {
	level := "warn"
	if f.verbose {
		level = "debug"
	}
	return p.newLog(config.Log{Level: level, Format: "text"})
}
