// Package link is a network between one client and one server in user space: a
// UDP relay on the loopback interface that delays, queues, limits and loses
// packets. The same seed loses the same packets of the same sequence.
//
// What goes to the client passes a bottleneck of so many bits a second with a
// queue that drops what does not fit, and then random loss. What goes to the
// server is only delayed: a viewer's acknowledgements are not what is short.
package link
