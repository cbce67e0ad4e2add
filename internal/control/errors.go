package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/broadcastd/broadcastd/internal/store"
)

// A Code says what kind of refusal an Error is. What answers in HTTP's terms
// maps it to a status.
type Code int

// The codes.
const (
	Invalid         Code = iota + 1 // what was asked makes no sense; Field names where
	Unauthenticated                 // no credential, or none that counts
	Forbidden                       // the credential does not reach that far
	NotFound
	Conflict     // the state of the thing does not allow it
	Precondition // the thing has another revision than the caller said
	Exhausted    // a bound is reached
)

// An Error is a refusal. Whatever else a call returns is a failure of the store
// or the end of its context.
type Error struct {
	Code   Code
	Field  string // of what was asked; empty if it is not about one
	Reason string // a sentence for people, without secrets
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Reason
	}
	return e.Reason
}

// CodeOf returns the code of the Error in err, 0 if there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return 0
}

func fail(code Code, format string, args ...any) error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func invalid(field, format string, args ...any) error {
	return &Error{Code: Invalid, Field: field, Reason: fmt.Sprintf(format, args...)}
}

// failed says what the store was used for when it failed.
func failed(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, store.ErrTooLarge) {
		return fail(Exhausted, "%s: it would be too large", doing)
	}
	return fmt.Errorf("control: %s: %w", doing, err)
}
