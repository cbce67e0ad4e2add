// Package sim plays scenes with a relay in them: publishers that stall, restart
// and lie, viewers that come, pause and vanish, on links that lose, delay and
// reorder. Everything runs by steps in virtual time, in one goroutine, from one
// seed, so that a seed that fails fails again.
//
// The relay, its sessions and their schedulers are the real ones, driven by
// their Step methods. The other ends are played message by message, and hold
// every byte that the relay sends against what was published: what an encoder
// makes is a function of the seed and the location, so that nothing has to be
// remembered.
//
// What is held, under the names that a failure tells:
//
//   - I1: FIN comes behind the last object of a subgroup, never earlier.
//   - I2: what a reader in the process was shown does not change.
//   - I3: an object is what was published, or the track is given up.
//   - I4: nobody waits for what has ended.
//   - I5: no lock of the relay, of a session or of a scheduler is held where the
//     transport or the Authorizer is called: the calls try.
//   - I6: a publisher in the process can always write; one on a session is read.
//   - I7: something less urgent is not sent while something more urgent could be.
//   - I8: requests are answered in time.
//   - I9: what tracks charge goes back to zero.
//   - I10: what was opened is closed.
//   - I11: a session displaces no publisher in the process; namespaces come and go
//     in turn.
//   - I12: the largest object of a track never goes back.
//   - I16: what has ended tells so; what waits for a relay that is shut returns.
//
// I13 and I14 are about catalogs and recorders, I15 about logs: none of them is
// here. Besides, nothing is skipped, sent twice or invented; filters hold; nobody
// who keeps to the rules is closed; and once the world calms down, everybody gets
// every group whole and is at the newest. What answers a FETCH is in order, and
// what it leaves out without a word was not published or denied by a publisher.
// Each track that is on offer is offered once. What is late by its delivery
// timeout is not written. After a drain nobody is left.
package sim
