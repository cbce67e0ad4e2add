// The stock player, as its documentation embeds it, and what the test reads
// from it: /watch.html?url=http://host:port/&name=stream/local/cam&format=msf
import "@moq/watch/element";

const query = new URLSearchParams(location.search);
const player = document.createElement("moq-watch");
player.setAttribute("url", query.get("url"));
player.setAttribute("name", query.get("name"));
player.setAttribute("visible", "always");
if (query.has("format")) player.setAttribute("catalog-format", query.get("format"));
const canvas = player.appendChild(document.createElement("canvas"));
document.body.append(player);

let drawn = 0; // frames that reached the canvas
player.renderer.out.frame.subscribe((frame) => {
  if (frame) drawn++;
});

// A sum over a coarse copy of the canvas: it differs when the picture does.
const small = new OffscreenCanvas(32, 18).getContext("2d", { willReadFrequently: true });
function pictureSum() {
  if (!canvas.width || !drawn) return 0;
  small.drawImage(canvas, 0, 0, 32, 18);
  const { data } = small.getImageData(0, 0, 32, 18);
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum = (sum * 31 + data[i]) >>> 0;
  return sum;
}

window.sample = () => ({
  status: player.connection.status.peek(),
  version: String(player.connection.established.peek()?.version ?? ""),
  drawn,
  decoded: player.video.out.stats.peek()?.frameCount ?? 0,
  audioBytes: player.audio.out.stats.peek()?.bytesReceived ?? 0,
  mediaMs: player.video.out.timestamp.peek() ?? 0,
  // Media time of our broadcasts is UTC, so this is from the encoder to the canvas.
  delayMs: Math.round(Date.now() - (player.video.out.timestamp.peek() ?? 0)),
  width: canvas.width,
  height: canvas.height,
  picture: pictureSum(),
});
setInterval(() => {
  const s = window.sample();
  document.getElementById("state").textContent =
    `stock @moq/watch · ${s.version} · ${query.get("name")} · ${s.drawn} frames drawn` +
    (query.get("format") === "msf" ? ` · ${(s.delayMs / 1000).toFixed(2)} s behind the encoder` : "");
}, 200);
