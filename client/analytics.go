package client

// Analytics are the figures of a server.
type Analytics struct{ c *Client }
