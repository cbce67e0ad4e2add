// Package edge is what a request meets before a resource, and an answer after:
// rates, the form of JSON, the repetition of requests, and problem details.
package edge
