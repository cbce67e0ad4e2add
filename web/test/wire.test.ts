import assert from "node:assert/strict";
import { test } from "node:test";
import { Cursor, isSubgroup, ProtocolError, Reader, readObject, readSubgroupHeader, Status, subscribe, Writer } from "../src/wire.ts";
import { byteByByte, hex, streamOf, toHex } from "./fake.ts";

// Section 1.4.1's examples, and each length's largest value that a number holds.
const VARINTS: Array<[string, number]> = [
  ["25", 37],
  ["bbbd", 15293],
  ["ed7f3e7d", 226442877],
  ["faa1a0e403d8", 2893212287960],
  ["fc8998abc66bc0", 151288809941952],
  ["7f", 127],
  ["8080", 128],
  ["bfff", 16383],
  ["c04000", 16384],
  ["dfffff", 2 ** 21 - 1],
  ["e0200000", 2 ** 21],
  ["f010000000", 2 ** 28],
  ["f80800000000", 2 ** 35],
  ["fc040000000000", 2 ** 42],
  ["fe02000000000000", 2 ** 49],
  ["fe1fffffffffffff", 2 ** 53 - 1],
  ["af00", 0x2f00],
];

test("varints go both ways", async () => {
  for (const [h, v] of VARINTS) {
    assert.equal(toHex(new Writer().vi(v).bytes()), h, `write ${v}`);
    assert.equal(new Cursor(hex(h)).vi(), v, `parse ${h}`);
    assert.equal(await new Reader(byteByByte(hex(h))).vi(), v, `read ${h}`);
  }
});

test("longer forms of a varint are the same value", async () => {
  for (const h of ["8025", "c00025", "ff0000000000000025", "fe00000000000025"]) {
    assert.equal(new Cursor(hex(h)).vi(), 37, h);
    assert.equal(await new Reader(streamOf(hex(h))).vi(), 37, h);
  }
});

test("varints above 2^53 and cut ones are refused", async () => {
  for (const h of ["ffffffffffffffffff", "fe20000000000000", "80", "ff00"]) {
    assert.throws(() => new Cursor(hex(h)).vi(), ProtocolError, h);
    await assert.rejects(new Reader(streamOf(hex(h))).vi(), ProtocolError, h);
  }
});

test("SUBSCRIBE", () => {
  const got = toHex(subscribe(2, ["live", "test"], "catalog"));
  // Type, length, request 2, two fields, name, one parameter: filter 0x21, one byte, Largest Object.
  assert.equal(got, "03" + "0018" + "02" + "02" + "046c697665" + "0474657374" + "07636174616c6f67" + "01" + "210102");
});

test("subgroup stream types", () => {
  const good = [0x10, 0x11, 0x14, 0x15, 0x18, 0x30, 0x38, 0x58, 0x5c, 0x7d];
  const bad = [0x00, 0x05, 0x16, 0x1e, 0x0f, 0x40, 0x90, 0x2f00];
  for (const t of good) assert.ok(isSubgroup(t), t.toString(16));
  for (const t of bad) assert.ok(!isSubgroup(t), t.toString(16));
});

async function objects(h: string): Promise<{ group: number; alias: number; list: Array<[number, Status, string]> }> {
  const r = new Reader(byteByByte(hex(h)));
  const header = await readSubgroupHeader(r, await r.vi());
  const list: Array<[number, Status, string]> = [];
  for (let previous = -1; ; ) {
    const o = await readObject(r, header, previous);
    if (!o) return { group: header.group, alias: header.alias, list };
    previous = o.id;
    list.push([o.id, o.status, toHex(o.payload)]);
  }
}

test("objects of a subgroup", async () => {
  for (const [name, h, want] of [
    ["priority, IDs without holes", "58 07 09 80  00 02 aabb  00 01 cc", [[0, 0, "aabb"], [1, 0, "cc"]]],
    ["default priority", "78 07 09  00 01 aa", [[0, 0, "aa"]]],
    ["subgroup ID present", "5c 07 09 05 80  00 01 aa", [[0, 0, "aa"]]],
    ["a hole between IDs", "58 07 09 80  03 01 aa  02 01 bb", [[3, 0, "aa"], [6, 0, "bb"]]],
    ["properties are passed over", "59 07 09 80  00 03 3c0500 01 aa  00 00 01 bb", [[0, 0, "aa"], [1, 0, "bb"]]],
    ["an empty object", "58 07 09 80  00 00 00  00 01 aa", [[0, 0, ""], [1, 0, "aa"]]],
    ["the end of the group", "58 07 09 80  00 01 aa  00 00 03", [[0, 0, "aa"], [1, 3, ""]]],
    ["no object at all", "58 07 09 80", []],
  ] as const) {
    assert.deepEqual(await objects(h), { alias: 7, group: 9, list: want }, name);
  }
});

test("broken subgroups are refused", async () => {
  for (const [name, h] of [
    ["cut in a payload", "58 07 09 80  00 05 aabb"],
    ["cut in a header", "58 07"],
    ["an unknown status", "58 07 09 80  00 00 01"],
    ["an object of 17 MiB", "58 07 09 80  00 e1100000"],
    ["a length of 2^64-1", "58 07 09 80  00 ffffffffffffffffff"],
  ] as const) {
    await assert.rejects(objects(h), ProtocolError, name);
  }
});

// Whatever the bytes, reading ends with a value or a ProtocolError.
test("random bytes are never anything but a ProtocolError", async () => {
  let seed = 1;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  for (let i = 0; i < 3000; i++) {
    const b = Uint8Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256));
    try {
      await objects(toHex(b));
    } catch (e) {
      assert.ok(e instanceof ProtocolError, `${toHex(b)}: ${e}`);
    }
    try {
      const c = new Cursor(b);
      c.vi();
      c.text();
    } catch (e) {
      assert.ok(e instanceof ProtocolError, `${toHex(b)}: ${e}`);
    }
  }
});
