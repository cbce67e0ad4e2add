package conformance_test

import (
	"os"
	"strings"
	"testing"
)

// contractsFile has a table for each contract whose documentation was gone
// through item by item.
const contractsFile = root + "/docs/contracts.md"

// TestEveryContractItemIsHeld: each item that the documentation of a contract
// shows (testdata/contracts.txt) has a row in the contract's table, in its order,
// and each row names tests that exist.
func TestEveryContractItemIsHeld(t *testing.T) {
	data, err := os.ReadFile("testdata/contracts.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	heading := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "## "); ok {
			heading = h
		} else if line != "" && !strings.HasPrefix(line, "#") {
			want = append(want, heading+": `"+line+"`")
		}
	}
	if len(want) < 120 {
		t.Fatalf("testdata/contracts.txt has %d items, which cannot be all", len(want))
	}
	found := tests(t)
	var got []string
	for _, r := range tables(t, contractsFile) {
		if !strings.HasSuffix(r.table, ", item by item") {
			continue
		}
		got = append(got, r.table+": "+r.cells[0])
		refs := reference.FindAllStringSubmatch(r.held(), -1)
		if len(refs) == 0 || len(r.cells) != 3 {
			t.Errorf("line %d: want item, what it is here, and tests: %q", r.line, r.cells)
		}
		for _, ref := range refs {
			if fault := missing(found, ref[1], ref[2], ref[3]); fault != "" {
				t.Errorf("line %d: %s", r.line, fault)
			}
		}
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			t.Errorf("%s has no row", want[i])
		case i >= len(want) || got[i] != want[i]:
			t.Fatalf("row %d is %q, want that of %q", i+1, got[i], append(want, "none")[min(i, len(want))])
		}
	}
}
