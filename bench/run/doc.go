// Package run measures one arm once: it starts the server, the publisher and the
// viewers as processes of their own, lets media flow, reads the meters at both ends
// of the measured time, and asks everybody what they saw.
package run
