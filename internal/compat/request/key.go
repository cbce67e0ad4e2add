package request

import (
	"errors"
	"net/http"
	"strings"
)

// The refusals of Key.
var (
	errNone   = errors.New("show an API key: 'Authorization: Bearer <key>' or 'X-API-Key: <key>'")
	errScheme = errors.New("the Authorization header is not of the form 'Bearer <key>'")
)

// Key returns the API key that a request shows: that of X-API-Key, or else that
// of Authorization (RFC 6750 section 2.1), which a proxy may have a use of its
// own for.
func Key(r *http.Request) (string, error) {
	if key := strings.TrimSpace(r.Header.Get("X-API-Key")); key != "" {
		return key, nil
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", errNone
	}
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errScheme
	}
	if key == "" {
		return "", errNone
	}
	return key, nil
}
