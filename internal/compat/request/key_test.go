package request_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/internal/compat/request"
)

func TestKey(t *testing.T) {
	for _, tt := range []struct {
		name, authorization, xAPIKey, want, err string
	}{
		{"bearer", "Bearer k1", "", "k1", ""},
		{"bearer in any case", "bearer  k1 ", "", "k1", ""},
		{"X-API-Key", "", "k2", "k2", ""},
		{"X-API-Key goes before a proxy's own", "Basic eA==", "k2", "k2", ""},
		{"nothing", "", "", "", "show an API key"},
		{"another scheme", "Basic eA==", "", "", "not of the form"},
		{"no key", "Bearer ", "", "", "show an API key"},
		{"a key without a scheme", "k1", "", "", "not of the form"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?key=k3&api_key=k3", nil)
			for name, value := range map[string]string{"Authorization": tt.authorization, "X-API-Key": tt.xAPIKey} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			got, err := request.Key(r)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Key = %q, %v, want %q, error %q", got, err, tt.want, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "k1") {
				t.Errorf("the error quotes the header: %v", err)
			}
		})
	}
}
