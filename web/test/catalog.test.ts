import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, parseCatalog } from "../src/catalog.ts";

const track = (over: object) => ({ packaging: "cmaf", isLive: true, role: "video", codec: "avc1.42C01E", initRef: "i", ...over });
const catalog = (over: object) =>
  parseCatalog(
    new TextEncoder().encode(
      JSON.stringify({
        version: "draft-01",
        tracks: [track({ name: "v", width: 640, height: 360 }), track({ name: "a", role: "audio", codec: "mp4a.40.2", initData: "BQY=", initRef: undefined })],
        initDataList: [{ id: "i", type: "inline", data: "AQID" }],
        ...over,
      }),
    ),
  );

test("tracks with their init data, by reference and in place", () => {
  const [v, a] = catalog({}).tracks;
  assert.deepEqual([v!.name, v!.mimeType, [...v!.init], v!.width], ["v", 'video/mp4; codecs="avc1.42C01E"', [1, 2, 3], 640]);
  assert.deepEqual([a!.name, a!.mimeType, [...a!.init]], ["a", 'audio/mp4; codecs="mp4a.40.2"', [5, 6]]);
  assert.equal(v!.initGroup, 0);
  assert.equal(catalog({ tracks: [track({ name: "v", initGroup: 1795190460 })] }).tracks[0]!.initGroup, 1795190460);
});

test("what a player cannot use is left out", () => {
  for (const over of [{ packaging: "loc" }, { role: "caption" }, { codec: "" }, { initRef: "none" }, { name: 7 }]) {
    assert.equal(catalog({ tracks: [track({ name: "v", ...over })] }).tracks.length, 0, JSON.stringify(over));
  }
  assert.equal(catalog({ tracks: [null, 5, "x"], initDataList: [null], more: { unknown: [1] } }).tracks.length, 0);
});

test("media time 0", () => {
  assert.equal(catalog({}).originMs, 0);
  assert.equal(catalog({ mediaTimeOrigin: 250 }).originMs, 250);
  assert.equal(catalog({ mediaTimeOrigin: -12.5 }).originMs, -12.5);
  assert.equal(catalog({ mediaTimeOrigin: "never" }).originMs, 0);
});

test("the end of a broadcast", () => {
  assert.equal(catalog({}).complete, false);
  assert.equal(catalog({ isComplete: true, tracks: [] }).complete, true);
});

test("catalogs that cannot be read say why", () => {
  assert.throws(() => catalog({ version: "draft-99" }), /draft-99/);
  assert.throws(() => catalog({ tracks: undefined }), /no list of tracks/);
  assert.throws(() => parseCatalog(new Uint8Array([0xff])), SyntaxError);
});

test("the largest picture that the browser decodes, or the one that was asked for", () => {
  const c = catalog({
    tracks: [
      track({ name: "small", width: 320, height: 180 }),
      track({ name: "huge", width: 3840, height: 2160, codec: "hvc1.1.6.L150" }),
      track({ name: "big", width: 1280, height: 720 }),
      track({ name: "ac3", role: "audio", codec: "ac-3" }),
      track({ name: "aac", role: "audio", codec: "mp4a.40.2" }),
    ],
  });
  const decodes = (mime: string) => !/hvc1|ac-3/.test(mime);
  const got = choose(c, decodes);
  assert.deepEqual([got.video?.name, got.audio?.name, got.renditions.map((t) => t.name)], ["big", "aac", ["big", "small"]]);
  assert.equal(choose(c, decodes, "small").video?.name, "small");
  assert.equal(choose(c, decodes, "gone").video?.name, "big");
  assert.deepEqual(choose(c, () => false), { video: undefined, audio: undefined, renditions: [] });
});
