package conformance_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// rulesFile lists the rules of the draft and, in tables behind, known traps,
// codes and limits. The last cell of a row names the tests that hold it.
const rulesFile = root + "/docs/moqt-rules.md"

// A row is one row of a table of the rules file.
type row struct {
	line  int
	table string // the heading above it
	cells []string
}

func (r row) held() string { return r.cells[len(r.cells)-1] }

func tables(t *testing.T, file string) (rows []row) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heading, inside := "", false
	in := bufio.NewScanner(f)
	for line := 1; in.Scan(); line++ {
		text := in.Text()
		if h, ok := strings.CutPrefix(text, "## "); ok {
			heading = h
		}
		if !strings.HasPrefix(text, "|") {
			inside = false
			continue
		}
		header := !inside
		inside = true
		if header || strings.HasPrefix(text, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(text, "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{line, heading, cells})
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// reference is how a row names a test: `package.Test` or
// `package.Test/its_subtest`, as go test -run takes it. A part of a subtest's
// name is enough, from its beginning.
var reference = regexp.MustCompile("`([a-z0-9]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]*)(/[^`]*)?`")

// A testFile is where a test function is, and the strings of that file, which
// the names of its subtests are made of.
type testFile struct{ strings []string }

// tests finds the test functions of the module, by package and name.
func tests(t *testing.T) map[string]testFile {
	t.Helper()
	found := make(map[string]testFile)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		var literals []string
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					literals = append(literals, strings.ReplaceAll(s, " ", "_"))
				}
			}
			return true
		})
		pkg := filepath.Base(filepath.Dir(path))
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[pkg+"."+fn.Name.Name] = testFile{literals}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// missing says what is wrong with a reference, if something is.
func missing(found map[string]testFile, pkg, name, subtest string) string {
	file, ok := found[pkg+"."+name]
	if !ok {
		return fmt.Sprintf("there is no test %s.%s", pkg, name)
	}
	for part := range strings.SplitSeq(strings.Trim(subtest, "/"), "/") {
		if !slices.ContainsFunc(file.strings, func(s string) bool { return strings.HasPrefix(s, part) }) {
			return fmt.Sprintf("%s.%s has no subtest %s", pkg, name, part)
		}
	}
	return ""
}

// TestEveryRowIsHeld: each row of each table names a test that exists, or says
// why there is none.
func TestEveryRowIsHeld(t *testing.T) {
	found := tests(t)
	rows := tables(t, rulesFile)
	if len(rows) < 300 {
		t.Errorf("%s has %d rows, which cannot be all", rulesFile, len(rows))
	}
	for _, r := range rows {
		refs := reference.FindAllStringSubmatch(r.held(), -1)
		for _, ref := range refs {
			if fault := missing(found, ref[1], ref[2], ref[3]); fault != "" {
				t.Errorf("line %d: %s", r.line, fault)
			}
		}
		if words := strings.Fields(reference.ReplaceAllString(r.held(), "")); len(refs) == 0 && len(words) < 3 {
			t.Errorf("line %d: neither a test nor a reason: %q", r.line, r.held())
		}
	}
}

// TestReferences is about the checker itself.
func TestReferences(t *testing.T) {
	found := map[string]testFile{"moqt.TestClose": {[]string{"10.4_second_GOAWAY", "inner"}}}
	for _, tt := range []struct {
		pkg, name, subtest string
		ok                 bool
	}{
		{"moqt", "TestClose", "", true},
		{"moqt", "TestClose", "/10.4_second_GOAWAY", true},
		{"moqt", "TestClose", "/10.4", true},
		{"moqt", "TestClose", "/10.4/inner", true},
		{"moqt", "TestClose", "/10.4/outer", false},
		{"moqt", "TestClose", "/10.5", false},
		{"moqt", "TestClosed", "", false},
		{"wire", "TestClose", "", false},
	} {
		if fault := missing(found, tt.pkg, tt.name, tt.subtest); (fault == "") != tt.ok {
			t.Errorf("missing(%s.%s%s) = %q, want ok %t", tt.pkg, tt.name, tt.subtest, fault, tt.ok)
		}
	}
}

// A weight is how many rules a section or a row has: MUST and SHOULD, each with
// its negation; SHALL and REQUIRED count as MUST, RECOMMENDED as SHOULD.
type weight struct{ must, should int }

var weights = regexp.MustCompile(`^(?:(\d+)M)? ?(?:(\d+)S)?$`)

func parseWeight(s string) (w weight, ok bool) {
	m := weights.FindStringSubmatch(s)
	if m == nil || s == "" {
		return w, false
	}
	w.must, _ = strconv.Atoi(m[1])
	w.should, _ = strconv.Atoi(m[2])
	return w, true
}

// TestEveryRuleHasARow: the rows of a section are as many rules as the draft
// has there. testdata/sections.txt counts those that bind endpoints.
func TestEveryRuleHasARow(t *testing.T) {
	data, err := os.ReadFile("testdata/sections.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]weight)
	for line := range strings.Lines(string(data)) {
		section, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(section, "#") || section == "" {
			continue
		}
		w, ok := parseWeight(text)
		if !ok {
			t.Fatalf("testdata/sections.txt: %q", line)
		}
		want[section] = w
	}
	if len(want) < 100 {
		t.Fatalf("testdata/sections.txt has %d sections, which cannot be all", len(want))
	}
	got := make(map[string]weight)
	for _, r := range tables(t, rulesFile) {
		if r.table != "Rules" {
			continue
		}
		w, ok := weight{}, len(r.cells) == 5
		if ok {
			w, ok = parseWeight(r.cells[1])
		}
		if !ok {
			t.Errorf("line %d: want section, how many rules, who, rule and tests: %q", r.line, r.cells)
			continue
		}
		sum := got[r.cells[0]]
		got[r.cells[0]] = weight{sum.must + w.must, sum.should + w.should}
	}
	for _, section := range slices.Sorted(maps.Keys(want)) {
		if got[section] != want[section] {
			t.Errorf("section %s: rows for %+v, want %+v", section, got[section], want[section])
		}
		delete(got, section)
	}
	for _, section := range slices.Sorted(maps.Keys(got)) {
		t.Errorf("section %s has a row but no rule", section)
	}
}
