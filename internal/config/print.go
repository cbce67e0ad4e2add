package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

const masked = "********"

// YAML returns the effective settings as a config file, each with where it
// came from. Secrets are masked.
func (l *Loaded) YAML() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{"": root}
	for _, v := range l.Values {
		section, name := "", v.Key.Name
		if s, rest, ok := strings.Cut(name, "."); ok {
			section, name = s, rest
		}
		parent := sections[section]
		if parent == nil {
			parent = &yaml.Node{Kind: yaml.MappingNode}
			sections[section] = parent
			root.Content = append(root.Content, scalar(section, ""), parent)
		}
		node, err := l.node(v)
		if err != nil {
			return nil, fmt.Errorf("config: %s: %w", v.Key.Name, err)
		}
		key := scalar(name, "")
		if len(node.Content) > 0 {
			key.LineComment = v.Origin // a comment behind a list would end up in it
		} else {
			node.LineComment = v.Origin
		}
		parent.Content = append(parent.Content, key, node)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// node returns the value as YAML.
func (l *Loaded) node(v Value) (*yaml.Node, error) {
	switch {
	case v.Key.Name == "pulls":
		list := make([]Pull, 0, len(l.Config.Pulls))
		for _, p := range l.Config.Pulls {
			shown := Pull{Name: p.Name, URL: maskURL(p.URL)}
			for name := range p.Headers {
				if shown.Headers == nil {
					shown.Headers = make(map[string]string)
				}
				shown.Headers[name] = masked
			}
			list = append(list, shown)
		}
		return sequence(list)
	case v.Key.Name == "srt.more":
		return sequence(append([]SRTListener{}, l.Config.SRT.More...))
	case v.Key.Name == "trusted_proxies":
		return prefixes(l.Config.TrustedProxies)
	case v.Key.Name == "pull.allow":
		return prefixes(l.Config.PullAllow)
	case (v.Key.Name == "auth.callback" || v.Key.Name == "auth.jwks") && strings.Contains(v.Text, "://"):
		return scalar(maskURL(v.Text), "!!str"), nil
	case v.Key.Secret && v.Text != "":
		return scalar(masked, "!!str"), nil
	case v.Key.Bool:
		var b bool
		if err := setBool(&b, v.Text); err != nil {
			return nil, err
		}
		return scalar(fmt.Sprint(b), "!!bool"), nil
	default:
		return scalar(v.Text, "!!str"), nil
	}
}

func scalar(text, tag string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

func prefixes(list []netip.Prefix) (*yaml.Node, error) {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return sequence(texts)
}

func sequence(list any) (*yaml.Node, error) {
	n := &yaml.Node{}
	if err := n.Encode(list); err != nil {
		return nil, err
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n, nil
}

// maskURL hides what may be a credential in a URL: userinfo and query.
func maskURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return masked
	}
	if u.User != nil {
		u.User = url.User(masked)
	}
	if u.RawQuery != "" {
		u.RawQuery = masked
	}
	return strings.ReplaceAll(u.String(), url.PathEscape(masked), masked)
}
