// Package openapi checks the API's description with a foreign validator.
package openapi

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lint returns what the validator finds in a description.
func lint(t *testing.T, file string) (faults string, ok bool) {
	t.Helper()
	if _, err := os.Stat("node_modules/@redocly/openapi-core"); err != nil {
		if os.Getenv("BROADCASTD_TEST_TOOLS") == "required" {
			t.Fatalf("the validator is not installed; .ci/deps does that: %v", err)
		}
		t.Skip("the validator is not installed; .ci/deps does that")
	}
	out, err := exec.Command("node", "lint.mjs", file).CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), err == nil
}

func TestDescription(t *testing.T) {
	file, err := filepath.Abs("../../internal/api/testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if faults, ok := lint(t, file); !ok {
		t.Errorf("the description of the API has faults:\n%s", faults)
	}
	// The validator would notice.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	bad := strings.Replace(string(text), `"#/components/schemas/Problem"`, `"#/components/schemas/Nothing"`, 1)
	if err := os.WriteFile(broken, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	if faults, ok := lint(t, broken); ok || !strings.Contains(faults, "no-unresolved-refs") {
		t.Errorf("a reference to nothing goes unnoticed: %s", faults)
	}
}
