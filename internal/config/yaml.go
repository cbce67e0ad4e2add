package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml reads a config file into the values. A fault does not stop it.
func (l *loader) yaml(file string, text []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file, or comments alone
			l.fault(file, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		l.fault(file, "has more than one YAML document")
	}
	seen := make(map[string]int)
	l.mapping(file, "", doc.Content[0], seen)
}

// mapping reads the keys of one level; prefix is empty or ends in a dot.
func (l *loader) mapping(file, prefix string, n *yaml.Node, seen map[string]int) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		what := "the file"
		if prefix != "" {
			what = strings.TrimSuffix(prefix, ".")
		}
		l.fault(place(file, n), "%s holds %s, want keys and values", what, kindName(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := prefix + k.Value
		if line, dup := seen[name]; dup {
			l.fault(place(file, k), "%s is set twice, first on line %d", name, line)
			continue
		}
		seen[name] = k.Line
		switch {
		case l.isKey(name): // also "http.listen: :8080" at the top, as the documentation names it
			l.value(file, name, v)
		case l.isSection(name):
			l.mapping(file, name+".", v, seen)
		default:
			l.unknown(place(file, k), name)
		}
	}
}

func (l *loader) isKey(name string) bool { _, ok := l.at[name]; return ok }

func (l *loader) isSection(name string) bool {
	for _, k := range l.keys {
		if strings.HasPrefix(k.Name, name+".") {
			return true
		}
	}
	return false
}

func (l *loader) unknown(where, name string) {
	var names []string
	for _, k := range l.keys {
		names = append(names, k.Name)
		if section, _, ok := strings.Cut(k.Name, "."); ok {
			names = append(names, section)
		}
	}
	if near := nearest(name, names); near != "" {
		l.fault(where, "unknown key %q; did you mean %q?", name, near)
		return
	}
	l.fault(where, "unknown key %q; `broadcastd config print` lists the keys", name)
}

// value sets one key from its node.
func (l *loader) value(file, name string, n *yaml.Node) {
	i := l.at[name]
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var text string
	switch {
	case isNull(n):
		return // "key:" with nothing behind it leaves the default
	case l.keys[i].List:
		if n.Kind != yaml.SequenceNode {
			l.fault(place(file, n), "%s holds %s, want a list", name, kindName(n))
			return
		}
		out, err := yaml.Marshal(n)
		if err != nil {
			l.fault(place(file, n), "%s: %v", name, err)
			return
		}
		text = string(out)
	case n.Kind != yaml.ScalarNode:
		l.fault(place(file, n), "%s holds %s, want one value", name, kindName(n))
		return
	default:
		text = n.Value
	}
	l.values[i].Text, l.values[i].Origin = text, place(file, n)
}

func place(file string, n *yaml.Node) string { return fmt.Sprintf("%s:%d", file, n.Line) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}
