// Publishes a file's tracks in real time with the stock @moqt core, as CMAF
// objects with an MSF catalog. Nothing is sent before start():
// /moqt-publish.html?url=…&hash=HEX&name=stream/local/page&video=/v.mp4&audio=/a.mp4
import { bytes, connect, dial, fields, query } from "./moqt.js";

const state = { announced: false, refused: "", subscribed: [], sent: {}, done: false, errors: [] };
const fault = (e) => state.errors.push(String(e?.stack ?? e));
addEventListener("unhandledrejection", (e) => fault(e.reason));

/** The boxes of b: type, and where they begin and end. */
function boxes(b, from = 0, to = b.length) {
  const view = new DataView(b.buffer, b.byteOffset);
  const out = [];
  for (let at = from; at < to; ) {
    const size = view.getUint32(at);
    out.push({ type: String.fromCharCode(...b.subarray(at + 4, at + 8)), body: at + 8, at, end: at + size });
    at += size;
  }
  return out;
}

/** The box down a path such as "moov/trak/mdia/mdhd". */
function find(b, path) {
  let range = { body: 0, end: b.length };
  for (const type of path.split("/")) range = boxes(b, range.body, range.end).find((x) => x.type === type);
  return range;
}

/** A track of a fragmented MP4 file: its header, and each moof with its mdat. */
async function load(role) {
  const file = new Uint8Array(await (await fetch(query.get(role))).arrayBuffer());
  const top = boxes(file);
  const moofs = top.filter((x) => x.type === "moof");
  const init = file.slice(0, moofs[0].at);
  const view = new DataView(init.buffer);
  const mdhd = find(init, "moov/trak/mdia/mdhd").body; // version, flags, then times of 4 or 8 bytes
  const timescale = view.getUint32(mdhd + (view.getUint8(mdhd) === 1 ? 20 : 12));
  const chunks = moofs.map((moof) => {
    const data = file.slice(moof.at, top.find((x) => x.type === "mdat" && x.at > moof.at).end);
    const tfdt = find(data, "moof/traf/tfdt").body; // ffmpeg writes version 1
    return { data, seconds: Number(new DataView(data.buffer).getBigUint64(tfdt + 4)) / timescale };
  });
  return { role, init, timescale, chunks, codec: codec(role, init) };
}

/** RFC 6381: of H.264 what the avcC says, of audio AAC-LC, which the test makes. */
function codec(role, init) {
  if (role === "audio") return "mp4a.40.2";
  const at = new TextDecoder("latin1").decode(init).indexOf("avcC") + 5;
  return "avc1." + [...init.subarray(at, at + 3)].map((n) => n.toString(16).padStart(2, "0")).join("");
}

function catalogOf(tracks, startMs) {
  return {
    version: "draft-01",
    generatedAt: Date.now(),
    mediaTimeOrigin: startMs, // only so that our page can tell its delay
    tracks: tracks.map((t, i) => ({
      name: t.role, packaging: "cmaf", isLive: true, role: t.role, renderGroup: 1, altGroup: i + 1,
      initRef: t.role, codec: t.codec, timescale: t.timescale,
      ...(t.role === "video" ? { width: 320, height: 180, framerate: 30 } : { samplerate: 48000, channelConfig: "2" }),
    })),
    initDataList: tracks.map((t) => ({ id: t.role, type: "inline", data: btoa(String.fromCharCode(...t.init)) })),
  };
}

const aliases = new Map(); // of tracks that are subscribed to
const started = new Promise((done) => (window.start = done));

async function publish() {
  const tracks = await Promise.all(["video", "audio"].map(load));
  const session = await connect(dial(), fault);
  const requests = new Map();
  let nextAlias = 1n;
  session.onSubscribe = async (request, _, name) => {
    const track = new TextDecoder().decode(name);
    const alias = nextAlias++;
    if (track !== "catalog" && !tracks.some((t) => t.role === track)) {
      return session.rejectSubscribe(request, 0x10n, `no track ${track}`);
    }
    await session.acceptSubscribe(request, alias);
    requests.set(track, request);
    if (track === "catalog") {
      await object(session, alias, 0n, JSON.stringify(catalogOf(tracks, Date.now())));
    }
    aliases.set(track, alias);
    state.subscribed.push(track);
  };
  session.onSubscribeClosed = (request) => {
    for (const [track, r] of requests) if (r === request) aliases.delete(track);
  };
  session.onMessage = (m) => {
    if (m.type === "REQUEST_OK") state.announced = true;
    if (m.type === "REQUEST_ERROR") state.refused = `${m.errorCode} ${m.errorReason}`;
  };
  await session.publishNamespace(fields(query.get("name")));
  await started;
  const began = performance.now();
  const catalog = aliases.get("catalog");
  await object(session, catalog, 1n, JSON.stringify(catalogOf(tracks, Date.now())));
  await Promise.all(tracks.map((t) => send(session, t, began)));
  await object(session, catalog, 2n, JSON.stringify({ version: "draft-01", isComplete: true, tracks: [] }));
  for (const request of requests.values()) await session.publishDone(request, 0x2n, "the file has ended");
  state.done = true;
}

/** Sends one object as a group of its own. */
async function object(session, alias, group, text) {
  const stream = await session.openSubgroup(alias, group, 0n, { firstObject: true, endOfGroup: true });
  await session.sendObject(stream, 0n, bytes(text));
  await session.closeSubgroup(stream);
}

/** Sends a track at its own pace, one group a second: the file has a key frame in each. */
async function send(session, track, began) {
  let group = -1n;
  let stream, id;
  state.sent[track.role] = 0;
  for (const { data, seconds } of track.chunks) {
    const wait = began + 1000 * seconds - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    const now = BigInt(Math.floor(seconds + 0.001));
    if (now !== group) {
      if (stream !== undefined) await session.closeSubgroup(stream);
      group = now;
      id = 0n;
      stream = await session.openSubgroup(aliases.get(track.role), group, 0n, { firstObject: true, endOfGroup: true });
    }
    await session.sendObject(stream, id++, data);
    state.sent[track.role]++;
  }
  await session.closeSubgroup(stream);
}

window.sample = () => state;
publish().catch(fault);
