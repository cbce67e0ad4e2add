package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A stockFailure is what a stock client tells of a call that failed.
type stockFailure struct {
	Failed                    bool
	Name, Message, Code, Path string
	HTTPStatus, Number        int
}

// TestStockTRPC drives the control plane with the tRPC clients of the npm
// registry, with and without batching.
func TestStockTRPC(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(harness.Root(), "test", "e2e", "trpc")
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_ADMIN_KEY": contractAdminKey}})
	for _, version := range []string{"v10", "v11"} {
		harness.NodeModules(t, filepath.Join("test", "e2e", "trpc", version))
		for link, together := range map[string]int{"single": 4, "batch": 1} {
			t.Run(version+" "+link, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), harness.Tool(t, "node"), "client.mjs", version, link)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "BASE=http://"+d.HTTP, "KEY="+contractAdminKey)
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("node client.mjs %s %s: %v", version, link, err)
				}
				var got struct {
					Made, Got, Rotated, Minted object
					List, Keys                 []object
					Together                   int
					Missing, Invalid, Unknown  stockFailure
				}
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatalf("%v in %s", err, out)
				}
				if text(got.Made, "id") == "" || got.Made["id"] != got.Got["id"] || got.Got["ingest"] != "srt" || len(got.List) == 0 || len(got.Keys) != 1 {
					t.Errorf("made %v, got %v, %d inputs and %d keys", got.Made["id"], got.Got, len(got.List), len(got.Keys))
				}
				if !strings.HasPrefix(text(got.Rotated, "stream_key_cleartext"), "sk_live_") || !strings.HasPrefix(text(got.Minted, "url"), "moq://") {
					t.Errorf("rotated %v, minted for %v", got.Rotated["id"], got.Minted["input"])
				}
				if got.Together != together {
					t.Errorf("four queries took %d requests, want %d", got.Together, together)
				}
				for _, tt := range []struct {
					what string
					got  stockFailure
					want stockFailure
				}{
					{"an unknown id", got.Missing, stockFailure{Code: "NOT_FOUND", HTTPStatus: 404, Number: -32004, Path: "streams.liveInputs.get"}},
					{"an unknown ingest", got.Invalid, stockFailure{Code: "BAD_REQUEST", HTTPStatus: 400, Number: -32600, Path: "streams.liveInputs.create"}},
					{"an unknown procedure", got.Unknown, stockFailure{Code: "NOT_FOUND", HTTPStatus: 404, Number: -32004, Path: "streams.nothing"}},
				} {
					tt.want.Failed, tt.want.Name, tt.want.Message = true, "TRPCClientError", tt.got.Message
					if tt.got != tt.want || tt.got.Message == "" {
						t.Errorf("%s: %+v, want %+v", tt.what, tt.got, tt.want)
					}
				}
			})
		}
	}
}
