// A small Media Source player on the stock @moqt core, which brings none:
// /moqt-watch.html?url=https://host:port/&hash=HEX&name=stream/local/cam
import { bytes, connect, dial, fields, query } from "./moqt.js";

const video = document.querySelector("video");
const state = { protocol: "", objects: {}, errors: [] };
const fault = (e) => state.errors.push(String(e?.stack ?? e));
addEventListener("unhandledrejection", (e) => fault(e.reason));
video.addEventListener("error", () => fault(video.error.message));

/** Puts the objects of one track into the order of groups: streams may overtake each other. */
class InOrder {
  groups = new Map(); // of those not yet through: objects, and whether all have come

  constructor(out) {
    this.out = out;
  }
  at(id) {
    if (!this.groups.has(id)) this.groups.set(id, { objects: [], whole: false });
    return this.groups.get(id);
  }
  object(o) {
    if (o.kind !== "data") return;
    this.at(o.groupId).objects.push(o.payload);
    this.pump();
  }
  end(id) {
    this.at(id).whole = true;
    this.pump();
  }
  pump() {
    for (const id of [...this.groups.keys()].sort((a, b) => Number(a - b))) {
      const g = this.groups.get(id);
      for (const payload of g.objects.splice(0)) this.out(payload);
      if (!g.whole) return;
      this.groups.delete(id);
    }
  }
}

async function play() {
  const wt = dial();
  const session = await connect(wt, fault);
  state.protocol = wt.protocol;
  const namespace = fields(query.get("name"));
  const catalog = await new Promise((got, refused) => {
    const onObject = (o) => o.kind === "data" && got(JSON.parse(new TextDecoder().decode(o.payload)));
    session.subscribeTrack(namespace, bytes("catalog"), { onObject }).catch(refused);
  });
  state.catalog = { version: catalog.version, tracks: catalog.tracks.map((t) => `${t.role} ${t.packaging} ${t.codec}`) };

  const media = new MediaSource();
  video.src = URL.createObjectURL(media);
  await new Promise((done) => media.addEventListener("sourceopen", done, { once: true }));
  const tracks = ["video", "audio"].map((role) => catalog.tracks.find((t) => t.role === role));
  // All buffers are there before the first data: no more may be added later.
  const puts = tracks.map((t) => feeder(media.addSourceBuffer(`${t.role}/mp4; codecs="${t.codec}"`)));
  for (const [i, track] of tracks.entries()) {
    const init = catalog.initDataList.find((d) => d.id === track.initRef);
    puts[i](Uint8Array.from(atob(init.data), (c) => c.charCodeAt(0)));
    state.objects[track.role] = 0;
    const order = new InOrder((payload) => {
      state.objects[track.role]++;
      puts[i](payload);
    });
    await session.subscribeTrack(namespace, bytes(track.name), {
      onObject: (o) => order.object(o),
      onSubgroupClosed: (h) => order.end(h.groupId),
    });
  }
}

/** A function that appends to a SourceBuffer, which takes one thing at a time. */
function feeder(buffer) {
  const queue = [];
  const append = () => {
    if (!buffer.updating && queue.length) buffer.appendBuffer(queue.shift());
  };
  buffer.addEventListener("updateend", append);
  return (chunk) => {
    queue.push(chunk);
    append();
  };
}

/** Starts near the newest picture, and jumps over what is missing. */
function follow() {
  const b = video.buffered;
  if (!b.length) return;
  const last = b.length - 1;
  if (video.paused && b.end(last) - b.start(last) > 0.3) {
    video.currentTime = Math.max(b.start(last), b.end(last) - 0.5);
    video.play().catch(fault);
  } else if (!video.paused && video.currentTime < b.start(last) && video.readyState < 3) {
    video.currentTime = b.start(last);
  }
}

// A sum over a coarse copy of the picture: it differs when the picture does.
const small = new OffscreenCanvas(32, 18).getContext("2d", { willReadFrequently: true });
function pictureSum() {
  if (video.readyState < 2) return 0;
  small.drawImage(video, 0, 0, 32, 18);
  return small.getImageData(0, 0, 32, 18).data.reduce((sum, v) => (sum * 31 + v) >>> 0, 0);
}

window.sample = () => ({
  ...state,
  time: video.paused ? 0 : video.currentTime,
  frames: video.getVideoPlaybackQuality().totalVideoFrames,
  width: video.videoWidth,
  height: video.videoHeight,
  picture: pictureSum(),
});
setInterval(() => {
  follow();
  document.getElementById("state").textContent = JSON.stringify(window.sample(), null, 1);
}, 100);
play().catch(fault);
