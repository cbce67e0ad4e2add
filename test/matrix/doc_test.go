// Package matrix_test sends what real encoders send, by every protocol and in
// every codec that an input takes, and looks at what a recorder gets: the same
// bytes, in the same order, at the same times. A row of the matrix is data; a
// protocol adds its rows in a file of its own, to the list in rows.
//
// A core of it runs with `make test`. `make matrix` runs all of it, and writes
// the table in docs/ingest.md.
package matrix_test
