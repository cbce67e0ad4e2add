package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// A Page says which part of a list to get. The zero value is the first.
type Page struct {
	// Cursor is Next of the List before. Empty: from the start.
	Cursor string
	// Limit is how many items to get at most. Zero leaves it to the server, which
	// gives 50; the most is 500.
	Limit int
	// Org is the organisation; empty means that of the Config.
	Org string
}

// A List is one part of a list.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the Cursor of the part behind this; empty: there is none.
	Next string `json:"next"`
}

func (c *Client) query(p Page) url.Values {
	q := url.Values{}
	setIf(q, "org", c.org(p.Org))
	setIf(q, "cursor", p.Cursor)
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return q
}

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func list[T any](ctx context.Context, c *Client, path string, q url.Values) (List[T], error) {
	var l List[T]
	_, err := c.do(ctx, call{method: http.MethodGet, path: path, query: q}, &l)
	return l, err
}

// All yields the items of a list from page on, part by part: get is a List
// method. An error is the last pair.
//
//	for input, err := range client.All(ctx, c.LiveInputs.List, client.Page{}) {
func All[T any](ctx context.Context, get func(context.Context, Page) (List[T], error), page Page) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			l, err := get(ctx, page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range l.Items {
				if !yield(item, nil) {
					return
				}
			}
			if l.Next == "" {
				return
			}
			page.Cursor = l.Next
		}
	}
}
