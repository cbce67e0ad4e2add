import assert from "node:assert/strict";
import { test } from "node:test";
import { End, isFinal, Session, Sink } from "../src/session.ts";
import { FakeTransport, settle, toHex } from "./fake.ts";

class Notes implements Sink {
  readonly lines: string[] = [];
  object(group: number, id: number, payload: Uint8Array): void {
    this.lines.push(`${group}.${id} ${toHex(payload)}`);
  }
  groupEnd(group: number): void {
    this.lines.push(`end ${group}`);
  }
}

/** A session with one subscription whose server has not answered yet. */
async function open() {
  const wt = new FakeTransport();
  const session = await Session.open(wt);
  const notes = new Notes();
  const sub = session.subscribe(["live"], "v", notes);
  await settle();
  return { wt, session, notes, sub, request: wt.requests[0]! };
}

const OK_ALIAS_7 = "04 0002 07 00";

test("SETUP goes out first, then the request", async () => {
  const { wt, request } = await open();
  assert.equal(toHex(wt.control[0]!).slice(0, 8), "af000010"); // type 0x2F00, 16 bytes
  assert.equal(toHex(request.received[0]!), "03000d" + "00" + "01046c697665" + "0176" + "01210102");
});

test("objects of a subscription", async () => {
  const { wt, notes, request } = await open();
  wt.openControl();
  request.send(OK_ALIAS_7);
  await settle();
  wt.openUni("58 07 09 80  00 01 aa  00 01 bb");
  await settle();
  assert.deepEqual(notes.lines, ["9.0 aa", "9.1 bb", "end 9"]);
});

test("objects that overtake the answer wait for it", async () => {
  const { wt, notes, request } = await open();
  wt.openUni("58 07 09 80  00 01 aa");
  await settle();
  assert.deepEqual(notes.lines, []);
  request.send(OK_ALIAS_7);
  await settle();
  assert.deepEqual(notes.lines, ["9.0 aa", "end 9"]);
});

test("what else comes is passed over or refused", async () => {
  const { wt, session } = await open();
  wt.openUni("f0132b3e28 0000"); // padding
  const asked = wt.openBidi("50 0003 01 00 00");
  await settle();
  assert.equal(toHex(asked.received[0]!).slice(0, 8), "05001e03"); // REQUEST_ERROR NOT_SUPPORTED
  assert.equal(wt.localClose, undefined);
  session.close();
});

test("closing a subscription cancels its request", async () => {
  const { wt, notes, sub, request } = await open();
  request.send(OK_ALIAS_7);
  await settle();
  sub.close();
  await settle();
  assert.ok(request.cancelled);
  wt.openUni("58 07 09 80  00 01 aa");
  await settle();
  assert.deepEqual(notes.lines, []);
});

test("how a track ends", async () => {
  for (const [name, answer, want, final] of [
    ["refused", ["05 000a 01 00 07 6e6f20617574 68"], "The server refused, UNAUTHORIZED (0x1): no auth", true],
    ["not there", ["05 0003 10 00 00"], "The server refused, DOES_NOT_EXIST (0x10).", false],
    ["over", [OK_ALIAS_7, "0b 0006 02 05 03 656e64"], "The broadcast has ended.", false],
    ["cut off", [OK_ALIAS_7, "0b 0006 05 05 03 656e64"], "The track ended, TOO_FAR_BEHIND (0x5): end", false],
    ["an unknown code", [OK_ALIAS_7, "0b 0003 7e 00 00"], "The track ended, 0x7e.", false],
    ["going away", [OK_ALIAS_7, "10 0002 00 00"], "The server is going away.", false],
  ] as Array<[string, string[], string, boolean]>) {
    const { sub, request } = await open();
    for (const a of answer) request.send(a);
    const end = await sub.ended;
    assert.deepEqual([end.text, isFinal(end)], [want, final], name);
  }
});

test("a request that ends without an answer", async () => {
  const { sub, request } = await open();
  request.finish();
  assert.match((await sub.ended).text, /too early/);
});

test("streams that end just before their session", async () => {
  const { wt, sub, request } = await open();
  request.finish();
  await settle();
  wt.serverClose({ closeCode: 0x2, reason: "no token" });
  assert.equal((await sub.ended).text, "The server closed the session, UNAUTHORIZED (0x2): no token");
});

test("objects that were on their way when the track ended still come", async () => {
  const { wt, notes, sub, request } = await open();
  request.send(OK_ALIAS_7);
  request.send("0b 0003 02 01 00");
  await sub.ended;
  wt.openUni("58 07 09 80  00 01 aa");
  await settle();
  assert.deepEqual(notes.lines, ["9.0 aa", "end 9"]);
});

test("the server closes the session", async () => {
  const { wt, session, sub } = await open();
  wt.serverClose({ closeCode: 0x2, reason: "this broadcast needs a token" });
  const want = "The server closed the session, UNAUTHORIZED (0x2): this broadcast needs a token";
  for (const end of await Promise.all([session.ended, sub.ended])) {
    assert.deepEqual([end.text, isFinal(end)], [want, true]);
  }
});

test("GOAWAY ends the session, which is no fault", async () => {
  const { wt, session } = await open();
  const control = wt.openControl();
  control("10 0003 00 00 00");
  const end: End = await session.ended;
  assert.deepEqual([end.text, isFinal(end)], ["The server is going away.", false]);
  assert.equal(wt.localClose?.closeCode, 0);
});

test("a broken rule closes the session with PROTOCOL_VIOLATION", async () => {
  for (const [name, act] of [
    ["an unknown stream type", (wt) => wt.openUni("06 00")],
    ["a message that does not belong on the control stream", (wt) => wt.openControl()("03 0000")],
    ["an answer of another kind", (wt) => wt.requests[0]!.send("07 0001 00")],
    ["a second answer", (wt) => wt.requests[0]!.send(OK_ALIAS_7 + OK_ALIAS_7)],
    ["PUBLISH_DONE without an answer", (wt) => wt.requests[0]!.send("0b 0003 02 01 00")],
    ["a cut answer", (wt) => wt.requests[0]!.send("05 0002 10 00")],
    ["a control stream that ends", (wt) => wt.openUni("af00 0000")],
  ] as Array<[string, (wt: FakeTransport) => void]>) {
    const { wt, session } = await open();
    act(wt);
    await session.ended;
    assert.equal(wt.localClose?.closeCode, 0x3, name);
  }
});

test("an alias in use for two tracks", async () => {
  const { wt, session, request } = await open();
  session.subscribe(["live"], "a", new Notes());
  await settle();
  request.send(OK_ALIAS_7);
  wt.requests[1]!.send(OK_ALIAS_7);
  await session.ended;
  assert.equal(wt.localClose?.closeCode, 0x5);
});

test("a server of another draft", async () => {
  const wt = new FakeTransport("moqt-99");
  await assert.rejects(Session.open(wt), /moqt-99/);
  assert.equal(wt.localClose?.closeCode, 0x15);
});

test("a browser that does not tell the draft", async () => {
  const wt = new FakeTransport();
  Object.defineProperty(wt, "protocol", { value: undefined });
  assert.equal((await Session.open(wt)).protocol, "");
});
