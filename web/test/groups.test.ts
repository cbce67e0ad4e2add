import assert from "node:assert/strict";
import { test } from "node:test";
import { Sequencer } from "../src/groups.ts";

/** Pushes "group.object" names and says what comes out. */
class Rig {
  readonly s = new Sequencer();
  push(name: string, now = 0): this {
    const [group, id] = name.split(".").map(Number);
    this.s.push(group!, id!, new TextEncoder().encode(name), now);
    return this;
  }
  end(group: number, now = 0): this {
    this.s.end(group, now);
    return this;
  }
  out(now = 0, patience = 100): string {
    const names: string[] = [];
    for (let o; (o = this.s.pull(now, patience)); ) {
      const name = new TextDecoder().decode(o.payload);
      assert.equal(Number(name.split(".")[0]), o.group);
      names.push(name);
    }
    return names.join(" ");
  }
}

test("objects come out as they go in", () => {
  const r = new Rig().push("5.0").push("5.1");
  assert.equal(r.out(), "5.0 5.1");
  assert.equal(r.push("5.2").end(5).push("6.0").out(), "5.2 6.0");
  assert.equal(r.s.skipped, 0);
});

test("a newer group waits for the older one's end", () => {
  const r = new Rig().push("5.0").push("6.0").push("6.1");
  assert.equal(r.out(), "5.0");
  assert.equal(r.push("5.1").end(5).out(), "5.1 6.0 6.1");
});

test("a group that arrives before its elder waits for it", () => {
  const r = new Rig().push("5.0").end(5);
  assert.equal(r.out(), "5.0");
  assert.equal(r.push("7.0", 10).out(20), "", "6 may still come");
  assert.equal(r.push("6.0", 30).end(6).out(30), "6.0 7.0");
});

test("patience ends", () => {
  const r = new Rig().push("5.0").push("6.0", 50);
  assert.equal(r.out(149), "5.0");
  assert.equal(r.out(150), "6.0");
  assert.equal(r.s.skipped, 1);
  assert.equal(r.push("5.1").end(5).out(150), "", "the rest of 5 is late");
  assert.equal(r.s.late, 1);
});

test("numbers that the publisher left out are no skipped groups", () => {
  const r = new Rig().push("5.0").end(5).push("9.0", 0);
  assert.equal(r.out(0), "5.0");
  assert.equal(r.out(100), "9.0");
  assert.equal(r.s.skipped, 0);
});

test("an object that comes twice is dropped", () => {
  const r = new Rig().push("5.0").push("5.1").push("5.0").push("5.1").push("5.2");
  assert.equal(r.out(), "5.0 5.1 5.2");
  assert.equal(r.s.late, 2);
});

test("a stream that was cut goes on in another", () => {
  const r = new Rig().push("5.0").push("5.1");
  assert.equal(r.out(), "5.0 5.1");
  assert.equal(r.push("5.2").end(5).push("6.0").out(), "5.2 6.0");
});

test("what waits is bounded", () => {
  const s = new Sequencer();
  for (let g = 0; g < 40; g++) s.push(g, 0, new Uint8Array(1 << 20), 0);
  let bytes = 0;
  for (let o; (o = s.pull(1000, 0)); ) bytes += o.payload.length;
  assert.equal(bytes, 16 << 20);
});
