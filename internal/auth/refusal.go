package auth

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrRefused is what every refusal wraps.
var ErrRefused = errors.New("refused")

// A refusal is one sentence that may be shown to whoever asked.
type refusal string

func (r refusal) Error() string   { return string(r) }
func (r refusal) Is(e error) bool { return e == ErrRefused }

// A Code says why a credential does not count.
type Code int

// The reasons for refusing a credential.
const (
	CodeMalformed Code = iota + 1 // it is none
	CodeUnknown                   // of a key that is not known, or forged
	CodeRevoked                   // of a key that counts no longer, or taken back itself
	CodeExpired
	CodeNotYet      // not valid yet
	CodeWrongInput  // valid, but for something else
	CodeLimited     // not looked at: too many were wrong
	CodeUnavailable // nobody could decide about it
	CodeMissing     // there is none, and it needs one
)

// A CredentialError says why a credential does not count. Its text begins with
// "auth", which is what clients of the streams contract look for, and holds
// nothing of the credential.
type CredentialError struct {
	Code   Code
	Reason string
}

func (e *CredentialError) Error() string { return "auth_failed: " + e.Reason }

// Is makes a CredentialError a refusal.
func (e *CredentialError) Is(err error) bool { return err == ErrRefused }

// HTTPStatus returns the status of an answer over HTTP that says so.
func (e *CredentialError) HTTPStatus() int {
	switch e.Code {
	case CodeWrongInput:
		return http.StatusForbidden
	case CodeLimited:
		return http.StatusTooManyRequests
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

func refused(code Code, reason string) error { return &CredentialError{Code: code, Reason: reason} }

// CodeOf returns why err refuses a credential, 0 if that is not what it does.
func CodeOf(err error) Code {
	if refusal, ok := errors.AsType[*CredentialError](err); ok {
		return refusal.Code
	}
	return 0
}

// A RefusedError refuses a publisher whose key is right: the input takes another
// protocol, another address or only encrypted connections.
type RefusedError struct {
	Input  string // its external id
	Takes  Ingest // the protocol that it takes, where that is the reason
	Reason string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("input %s: %s", e.Input, e.Reason) }

// Is makes a RefusedError a refusal.
func (e *RefusedError) Is(err error) bool { return err == ErrRefused }
