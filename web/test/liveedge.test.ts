import assert from "node:assert/strict";
import { test } from "node:test";
import { LiveEdge } from "../src/liveedge.ts";

/** A player with a buffer that an encoder fills; times in seconds. */
class Sim {
  readonly edge = new LiveEdge();
  now = 0;
  time = 0; // of the picture
  ranges: Array<[number, number]> = [];
  rate = 1;
  stalls = 0;
  seeks = 0;
  private dry = false;

  /** Plays for some seconds; encoder gives the end of what has come by then. */
  run(seconds: number, encoder: (now: number) => number): this {
    for (const until = this.now + seconds; this.now < until - 1e-9; ) {
      this.now += 0.1;
      const end = encoder(this.now);
      const last = this.ranges[this.ranges.length - 1];
      if (!last) this.ranges.push([Math.max(0, end - 0.5), end]);
      else last[1] = Math.max(last[1], end);
      const here = this.ranges.find(([s, e]) => this.time >= s - 0.001 && this.time < e);
      if (here) {
        this.time = Math.min(here[1], this.time + 0.1 * this.rate);
        this.dry = false;
      } else if (!this.dry) {
        this.dry = true;
        this.stalls++;
        this.edge.stalled(this.now);
      }
      const act = this.edge.step({ now: this.now, time: this.time, ranges: this.ranges, paused: false });
      if (act.seek !== undefined) {
        this.time = act.seek;
        this.seeks++;
        this.dry = false;
      }
      this.rate = act.rate;
    }
    return this;
  }
}

const steady = (now: number) => 1000 + now;
const bursts = (now: number) => 1000 + Math.floor(now);

test("a steady stream plays at the target", () => {
  const s = new Sim().run(20, steady);
  assert.ok(Math.abs(steady(s.now) - s.time - 0.3) < 0.11, `${steady(s.now) - s.time} s behind`);
  assert.deepEqual([s.seeks, s.rate], [1, 1]);
});

test("a viewer who is late catches up by rate, without a jump", () => {
  const s = new Sim().run(5, steady);
  const seeks = s.seeks;
  s.time -= 1.5;
  s.ranges[0]![0] = 0;
  s.run(5, steady);
  assert.ok(s.rate > 1 && s.rate <= 1.1, `rate ${s.rate}`);
  s.run(40, steady);
  assert.ok(Math.abs(steady(s.now) - s.time - 0.3) < 0.15, `${steady(s.now) - s.time} s behind`);
  assert.equal(s.seeks, seeks);
});

test("far behind is jumped over", () => {
  const s = new Sim().run(5, steady);
  s.ranges[0]![0] = 0;
  s.time -= 10;
  s.run(3, steady);
  assert.ok(steady(s.now) - s.time < 0.6, `${steady(s.now) - s.time} s behind`);
  assert.equal(s.seeks, 2);
});

test("an encoder that sends a second at a time does not make it stall for ever", () => {
  const s = new Sim().run(15, bursts);
  const early = s.stalls;
  s.run(30, bursts);
  assert.equal(s.stalls, early, `${s.stalls} stalls, ${early} of them in the first 15 s`);
  assert.ok(steady(s.now) - s.time < 1.9, `${steady(s.now) - s.time} s behind`);
});

test("a stall raises the target, quiet lowers it", () => {
  const s = new Sim().run(5, steady);
  s.edge.stalled(s.now);
  assert.equal(s.edge.target.toFixed(2), "0.45");
  s.run(95, steady);
  assert.equal(s.edge.target.toFixed(2), "0.30");
  for (let i = 0; i < 100; i++) s.edge.stalled(s.now);
  assert.equal(s.edge.target, 2.5);
});

test("a stall before the first picture is none", () => {
  const e = new LiveEdge();
  e.stalled(1);
  assert.equal(e.target, 0.3);
});

test("a hole is jumped over", () => {
  const e = new LiveEdge();
  e.step({ now: 0, time: 0, ranges: [[10, 11]], paused: false });
  const hole = { time: 11, ranges: [[10, 11], [11.5, 13]] as Array<[number, number]>, paused: false };
  assert.deepEqual(e.step({ now: 1, ...hole }), { rate: 1 }, "it may close");
  assert.deepEqual(e.step({ now: 1.2, ...hole }), { rate: 1, seek: 11.501, gap: true });
});

test("a playhead that stands just before a hole jumps over it too", () => {
  const e = new LiveEdge();
  e.step({ now: 0, time: 0, ranges: [[10, 11]], paused: false });
  const hole = { time: 10.93, ranges: [[10, 11], [11.2, 13]] as Array<[number, number]> };
  e.step({ now: 1, ...hole, paused: false });
  e.step({ now: 1.1, ...hole, paused: false });
  assert.deepEqual(e.step({ now: 1.2, ...hole, paused: true }), { rate: 1 }, "a pause is not a hole");
  e.step({ now: 1.3, ...hole, paused: false });
  assert.equal(e.step({ now: 1.5, ...hole, paused: false }).seek?.toFixed(3), "11.201");
});

test("nothing to play is waited for", () => {
  const e = new LiveEdge();
  assert.deepEqual(e.step({ now: 0, time: 0, ranges: [], paused: false }), { rate: 1 });
  e.step({ now: 1, time: 0, ranges: [[10, 11]], paused: false });
  for (let now = 1; now < 20; now++) {
    assert.deepEqual(e.step({ now, time: 11, ranges: [[10, 11]], paused: false }), { rate: 1 });
  }
});

test("a timeline that went back is followed", () => {
  const e = new LiveEdge();
  e.step({ now: 0, time: 0, ranges: [[100, 101]], paused: false });
  const back = { time: 101, ranges: [[5, 7]] as Array<[number, number]>, paused: false };
  assert.equal(e.step({ now: 1, ...back }).seek, undefined);
  assert.equal(e.step({ now: 2.1, ...back }).seek, 6.7);
});

test("a pause changes nothing, and the way back is a jump", () => {
  const s = new Sim().run(5, steady);
  for (let i = 0; i < 100; i++) {
    s.now += 0.1;
    s.ranges[0]![1] = steady(s.now);
    assert.deepEqual(s.edge.step({ now: s.now, time: s.time, ranges: s.ranges, paused: true }), { rate: 1 });
  }
  s.edge.jump();
  s.run(1, steady);
  assert.ok(steady(s.now) - s.time < 0.5, `${steady(s.now) - s.time} s behind`);
});
