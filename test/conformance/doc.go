// Package conformance holds the relay and its sessions to
// draft-ietf-moq-transport-18 from outside: scripted peers write and read exact
// bytes, in virtual time. Subtests begin with the number of the section that
// they hold. docs/moqt-rules.md lists every rule with its test; rules_test.go
// checks that list.
package conformance
