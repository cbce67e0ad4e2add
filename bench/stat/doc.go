// Package stat sums up measurements: histograms of delays, and medians with
// intervals that assume nothing of the distribution.
package stat
