package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds a config file, and a file that holds a secret, in bytes.
const maxFile = 1 << 20

// Sources say where Load looks. The zero value has nothing but the defaults.
type Sources struct {
	// File is the config file. Empty means the first of Search that exists,
	// or none.
	File   string
	Search []string
	// Env is the environment, as os.Environ gives it.
	Env []string
	// Flags are the flags that were given, by key name, in the file's form.
	Flags map[string]string
	// StateDir is the default of state_dir.
	StateDir string
}

// Search is where a config file is looked for when none is named.
func Search() []string { return []string{"broadcastd.yaml", "/etc/broadcastd/broadcastd.yaml"} }

// A Value is the text of one key and where it came from.
type Value struct {
	Key    Key
	Text   string
	Origin string // "default", "broadcastd.yaml:7", "BROADCASTD_HTTP__LISTEN" or "--http.listen"
}

// A Loaded is what Load found.
type Loaded struct {
	Config   Config
	Values   []Value  // every key, in order
	File     string   // the file that was read, or empty
	Warnings []string // things that may be slips, such as a variable that almost names a key
}

// Load reads the settings: default < file < environment < flag. The error
// joins every fault that was found, each with its place.
func Load(src Sources) (*Loaded, error) {
	l := &loader{keys: Keys(src.StateDir), at: make(map[string]int)}
	for i, k := range l.keys {
		l.at[k.Name] = i
		l.values = append(l.values, Value{Key: k, Text: k.Default, Origin: "default"})
	}
	file, err := l.file(src)
	if err != nil {
		return nil, err
	}
	l.env(src.Env)
	for name, text := range src.Flags {
		i, ok := l.at[name]
		if !ok {
			return nil, fmt.Errorf("config: no key %q for a flag", name)
		}
		l.values[i].Text, l.values[i].Origin = text, "--"+l.keys[i].Flag()
	}
	out := &Loaded{Values: l.values, File: file, Warnings: l.warnings}
	for _, v := range l.values {
		if err := v.Key.set(&out.Config, v.Text); err != nil {
			l.fault(v.Origin, "%s %v", v.Key.Name, err)
		}
	}
	if (out.Config.TLS.Cert == "") != (out.Config.TLS.Key == "") {
		set := "tls.cert"
		if out.Config.TLS.Cert == "" {
			set = "tls.key"
		}
		l.fault(l.values[l.at[set]].Origin, "%s is set alone, want tls.cert and tls.key", set)
	}
	return out, errors.Join(l.faults...)
}

type loader struct {
	keys     []Key
	at       map[string]int
	values   []Value
	faults   []error
	warnings []string
}

func (l *loader) fault(where, format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// file finds and reads the config file, and returns its name.
func (l *loader) file(src Sources) (string, error) {
	names := src.Search
	if src.File != "" {
		names = []string{src.File}
	}
	for _, name := range names {
		text, err := readFile(name)
		if errors.Is(err, fs.ErrNotExist) && src.File == "" {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("config file: %w", err)
		}
		l.yaml(name, text)
		return name, nil
	}
	return "", nil
}

// env applies the variables that name a key. A variable that names none is
// left alone, because the prefix is shared (Kubernetes sets
// BROADCASTD_SERVICE_HOST for a service of our name); a near miss is a warning.
func (l *loader) env(environ []string) {
	byEnv := make(map[string]int)
	var names []string
	for i, k := range l.keys {
		byEnv[k.Env()] = i
		names = append(names, k.Env())
	}
	environ = slices.Clone(environ)
	slices.Sort(environ)
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "BROADCASTD_") {
			continue
		}
		if i, ok := byEnv[name]; ok {
			l.values[i].Text, l.values[i].Origin = text, name
			continue
		}
		if base, ok := strings.CutSuffix(name, "_FILE"); ok {
			if i, ok := byEnv[base]; ok && l.keys[i].Secret {
				l.secretFile(i, name, text)
				continue
			}
		}
		if near := nearest(name, names); near != "" {
			l.warnings = append(l.warnings, fmt.Sprintf("environment variable %s is no setting; did you mean %s?", name, near))
		}
	}
}

func (l *loader) secretFile(i int, name, path string) {
	if l.values[i].Origin == l.keys[i].Env() {
		l.fault(name, "%s is set as well, want one of them", l.keys[i].Env())
		return
	}
	text, err := readFile(path)
	if err != nil {
		l.fault(name, "%v", err)
		return
	}
	l.values[i].Text, l.values[i].Origin = strings.TrimRight(string(text), "\r\n"), name
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", name, info.Size(), maxFile)
	}
	return os.ReadFile(filepath.Clean(name))
}

// nearest returns the candidate closest to name, if it is close enough to be a slip.
func nearest(name string, candidates []string) string {
	best, bestDist := "", max(2, len(name)/5)+1
	for _, c := range candidates {
		if d := distance(name, c); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// distance counts the single letters to insert, delete, change or swap with
// their neighbour to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
