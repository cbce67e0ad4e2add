package edge

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// answerTime is how long a client may take to receive an answer, which is short.
const answerTime = 30 * time.Second

// An Answer is an answer that has been put together.
type Answer struct {
	header http.Header
	status int // 0: nothing was written
	body   bytes.Buffer
}

// NewAnswer makes an empty one.
func NewAnswer() *Answer { return &Answer{header: http.Header{}} }

// Status returns the status, 200 if none was written.
func (a *Answer) Status() int { return cmp.Or(a.status, http.StatusOK) }

// Len returns the length of the body in bytes.
func (a *Answer) Len() int { return a.body.Len() }

// Reset takes back what was written.
func (a *Answer) Reset() { *a = Answer{header: http.Header{}} }

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// Send sends the answer to a client that has to take it in time. The deadline
// must not outlive the answer: the connection may be an encoder's next.
func (a *Answer) Send(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("X-Content-Type-Options", "nosniff")
	if a.Status() != http.StatusNoContent && a.Status() != http.StatusNotModified {
		header.Set("Content-Length", fmt.Sprint(a.body.Len()))
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetWriteDeadline(time.Now().Add(answerTime)) // not every ResponseWriter has one
	w.WriteHeader(a.Status())
	w.Write(a.body.Bytes())
	_ = deadline.Flush()
	_ = deadline.SetWriteDeadline(time.Time{})
}
