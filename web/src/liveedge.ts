// Keeps playback close to the live edge: a step function, without a clock or
// a video element of its own.

/** What there is at one moment. Times are in seconds. */
export interface Observation {
  now: number; // a steady clock
  time: number; // of the picture
  ranges: ReadonlyArray<readonly [number, number]>; // buffered, ascending
  paused: boolean;
}

export interface Action {
  rate: number;
  seek?: number;
  /** Whether the seek jumps over missing media. */
  gap?: boolean;
}

export interface Options {
  /** The buffer to keep at its lowest point, in seconds. */
  target: number;
  /** How much more than the target is jumped over instead of caught up. */
  jump: number;
  minRate: number;
  maxRate: number;
}

export const DEFAULTS: Options = { target: 0.3, jump: 3, minRate: 0.95, maxRate: 1.1 };

const MAX_TARGET = 2.5; // however badly the network stutters
const STALL_STEP = 0.15; // a stall raises the target by so much,
const CALM = 30; // and so many seconds without one
const CALM_STEP = 0.05; // lower it again by so much.
const WINDOW = 2; // an encoder that sends a fragment a second makes the buffer rise and fall
const END = 0.25; // a playhead that stands so close before an end has reached it
const STUCK = 0.15; // no media at the playhead for so long is a gap

/**
 * The lowest fill level of the last two seconds is held at a target by small
 * changes of the playback rate. A far excess, and holes, are jumped over. Each
 * stall raises the target, quiet lowers it again.
 */
export class LiveEdge {
  target: number;
  private readonly o: Options;
  private samples: Array<{ now: number; ahead: number }> = [];
  private started = false;
  private wantJump = false;
  private stuckSince: number | undefined;
  private lastTime: number | undefined;
  private calmSince: number | undefined;

  constructor(o: Partial<Options> = {}) {
    this.o = { ...DEFAULTS, ...o };
    this.target = this.o.target;
  }

  /** Makes the next step go to the live edge. */
  jump(): void {
    this.wantJump = true;
  }

  /** Playback ran dry. */
  stalled(now: number): void {
    if (!this.started) return;
    this.samples = [];
    this.target = Math.min(MAX_TARGET, this.target + STALL_STEP);
    this.calmSince = now;
  }

  step(o: Observation): Action {
    const last = o.ranges[o.ranges.length - 1];
    if (!last) return { rate: 1 };
    const here = o.ranges.find(([start, end]) => o.time >= start - 0.001 && o.time < end);
    const still = o.time === this.lastTime;
    this.lastTime = o.time;
    if (!this.started || this.wantJump) {
      if (!this.started && last[1] - last[0] < Math.min(this.target, 0.2)) return { rate: 1 };
      this.started = true;
      return this.toEdge(last);
    }
    if (o.paused) {
      this.samples = [];
      this.stuckSince = undefined;
      return { rate: 1 };
    }
    // Browsers stop a few pictures before the end of what they have.
    if (!here || (still && here[1] - o.time < END)) return this.missing(o, last);
    this.stuckSince = undefined;
    this.relax(o.now);
    return this.follow(o.now, here[1] - o.time, last);
  }

  private follow(now: number, ahead: number, last: readonly [number, number]): Action {
    this.samples.push({ now, ahead });
    while (this.samples[0]!.now < now - WINDOW) this.samples.shift();
    const excess = Math.min(...this.samples.map((s) => s.ahead)) - this.target;
    // A jump needs a whole window's proof: right after a start a burst is normal.
    const known = now - this.samples[0]!.now >= WINDOW * 0.75;
    if (excess > this.o.jump && known) return this.toEdge(last);
    if (Math.abs(excess) < 0.05) return { rate: 1 };
    // Faster only when the whole window says so; slower only while it is short
    // now, not for a low point that a burst has filled since.
    if (excess > 0 ? !known : ahead >= this.target) return { rate: 1 };
    const rate = 1 + excess * 0.15;
    return { rate: Math.round(Math.min(this.o.maxRate, Math.max(this.o.minRate, rate)) * 100) / 100 };
  }

  /** There is nothing at the playhead: a gap, a step back in time, or just nothing yet. */
  private missing(o: Observation, last: readonly [number, number]): Action {
    this.samples = [];
    this.stuckSince ??= o.now;
    const stuck = o.now - this.stuckSince;
    const next = o.ranges.find(([start]) => start > o.time);
    if (next && stuck >= STUCK) {
      this.stuckSince = undefined;
      return { rate: 1, seek: next[0] + 0.001, gap: true };
    }
    if (!next && o.time > last[1] + 1 && stuck >= 1) return this.toEdge(last);
    return { rate: 1 };
  }

  private toEdge([start, end]: readonly [number, number]): Action {
    this.wantJump = false;
    this.stuckSince = undefined;
    this.samples = [];
    return { rate: 1, seek: Math.max(start, end - this.target) };
  }

  private relax(now: number): void {
    this.calmSince ??= now;
    if (now - this.calmSince >= CALM) {
      this.calmSince = now;
      this.target = Math.max(this.o.target, this.target - CALM_STEP);
    }
  }
}
