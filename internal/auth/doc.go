// Package auth decides who may do what. A Gate answers for every way in: MoQ
// sessions and their requests, encoders of any protocol, and HTTP requests. It
// goes by what they show, a stream key or a playback token (a JWT), which a
// Directory knows; by what an HTTP callback says, if one is set; or, for whoever
// shows nothing, by the loopback rule: who sits at this machine may publish and
// play the ad-hoc broadcasts stream/local/<name>.
//
// What is allowed is a Grant. It ends when its token expires, and within 2 s of
// the moment at which its key, its token or its live input is taken back.
package auth
