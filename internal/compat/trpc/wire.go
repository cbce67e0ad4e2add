package trpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of what one request may be. The server bounds headers, and with them
// the query, on its own as well.
const (
	maxBody  = 256 << 10 // bytes
	maxQuery = 16 << 10  // bytes
	maxBatch = 100       // calls
	maxName  = 100       // bytes of a procedure's name
)

// A code is one of tRPC's error codes: its name and number, and the HTTP status
// that goes with it.
type code struct {
	name   string
	number int
	status int
}

// The codes that are used (tRPC's TRPC_ERROR_CODES_BY_KEY; JSON-RPC 2.0 for the
// first three).
var (
	codeParse        = code{"PARSE_ERROR", -32700, http.StatusBadRequest}
	codeBadRequest   = code{"BAD_REQUEST", -32600, http.StatusBadRequest}
	codeInternal     = code{"INTERNAL_SERVER_ERROR", -32603, http.StatusInternalServerError}
	codeUnauthorized = code{"UNAUTHORIZED", -32001, http.StatusUnauthorized}
	codeForbidden    = code{"FORBIDDEN", -32003, http.StatusForbidden}
	codeNotFound     = code{"NOT_FOUND", -32004, http.StatusNotFound}
	codeMethod       = code{"METHOD_NOT_SUPPORTED", -32005, http.StatusMethodNotAllowed}
	codeConflict     = code{"CONFLICT", -32009, http.StatusConflict}
	codePrecondition = code{"PRECONDITION_FAILED", -32012, http.StatusPreconditionFailed}
	codeTooLarge     = code{"PAYLOAD_TOO_LARGE", -32013, http.StatusRequestEntityTooLarge}
	codeTooMany      = code{"TOO_MANY_REQUESTS", -32029, http.StatusTooManyRequests}
)

// A callError is a refusal in tRPC's terms.
type callError struct {
	code   code
	reason string
}

func (e *callError) Error() string { return e.reason }

func fail(c code, format string, args ...any) *callError {
	return &callError{c, fmt.Sprintf(format, args...)}
}

// A call is one procedure with its input, which is null where there was none.
type call struct {
	path  string
	input json.RawMessage
}

// A wireRequest is what one HTTP request asks for.
type wireRequest struct {
	batch bool
	calls []call
}

// parse reads what the URL of a request says, whose path, behind the prefix, is
// names. What is wrong with it as a whole is a *callError; then the names tell
// for whom.
func parse(r *http.Request, names string) (wireRequest, *callError) {
	if len(r.URL.RawQuery) > maxQuery {
		return wireRequest{}, fail(codeTooLarge, "the query has %d bytes, at most %d are read: send the calls in smaller batches", len(r.URL.RawQuery), maxQuery)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return wireRequest{}, fail(codeBadRequest, "the query of the URL cannot be read")
	}
	q := wireRequest{batch: query.Get("batch") == "1"}
	paths := []string{names}
	if q.batch {
		paths = strings.Split(names, ",")
	}
	if len(paths) > maxBatch {
		return q, fail(codeTooLarge, "a batch of %d calls, at most %d are read", len(paths), maxBatch)
	}
	for _, p := range paths {
		q.calls = append(q.calls, call{path: clip(p)})
	}
	return q, nil
}

// spread gives each call its part of the input.
func (q *wireRequest) spread(raw []byte) *callError {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		return nil
	}
	if !json.Valid(raw) {
		return fail(codeParse, "the input is not JSON")
	}
	if !q.batch {
		q.calls[0].input = raw
		return nil
	}
	var parts map[string]json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return fail(codeBadRequest, `the input of a batch is an object of inputs by position: {"0":{…},"1":{…}}`)
	}
	for i := range q.calls {
		q.calls[i].input = parts[strconv.Itoa(i)]
	}
	return nil
}

// clip shortens a name that goes back into an answer.
func clip(name string) string {
	if len(name) > maxName {
		return strings.ToValidUTF8(name[:maxName], "")
	}
	return name
}

// An envelope is the answer to one call.
type envelope struct {
	Result *result  `json:"result,omitempty"`
	Error  *failure `json:"error,omitempty"`
}

type result struct {
	Data any `json:"data"`
}

type failure struct {
	Message string      `json:"message"`
	Code    int         `json:"code"`
	Data    failureData `json:"data"`
}

type failureData struct {
	Code       string `json:"code"`
	HTTPStatus int    `json:"httpStatus"`
	Path       string `json:"path"`
}

// succeeded makes the envelope of a row.
func succeeded(data any) envelope { return envelope{Result: &result{data}} }

// failed makes the envelope of an error.
func failed(err *callError, path string) envelope {
	return envelope{Error: &failure{
		Message: err.reason, Code: err.code.number,
		Data: failureData{Code: err.code.name, HTTPStatus: err.code.status, Path: path},
	}}
}

func (e envelope) status() int {
	if e.Error != nil {
		return e.Error.Data.HTTPStatus
	}
	return http.StatusOK
}

// write answers with the envelopes of all calls. Those of a batch that ended
// differently are answered with 207, as tRPC's own servers do.
func write(w http.ResponseWriter, batch bool, answers []envelope) error {
	status := answers[0].status()
	for _, a := range answers {
		if a.status() != status {
			status = http.StatusMultiStatus
		}
	}
	var body any = answers
	if !batch {
		body = answers[0]
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return fmt.Errorf("trpc: write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // it may hold a key that is shown once
	w.WriteHeader(status)
	_, err := w.Write(out.Bytes())
	return err
}

// decode reads the input of one call into a T. Fields that it does not know are
// left alone, as tRPC's validators do.
func decode[T any](raw json.RawMessage) (in T, _ error) {
	if len(raw) == 0 {
		return in, nil
	}
	err := json.Unmarshal(raw, &in)
	if bad, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if bad.Field == "" {
			return in, fail(codeBadRequest, "the input is a JSON %s, want an object", bad.Value)
		}
		return in, fail(codeBadRequest, "%s: a JSON %s does not belong there, want %s", bad.Field, bad.Value, kindOf(bad.Type.Kind().String()))
	}
	if own, ok := errors.AsType[*callError](err); ok {
		return in, own
	}
	if err != nil {
		return in, fail(codeBadRequest, "the input cannot be read")
	}
	return in, nil
}

// kindOf names a Go kind as JSON does.
func kindOf(kind string) string {
	switch {
	case kind == "string":
		return "a string"
	case kind == "bool":
		return "true or false"
	case kind == "slice":
		return "an array"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "an object"
}
