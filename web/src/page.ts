// The page `/`, and `/watch/{id}`: the same player on the full page.

import { Broadcast, Listing, pageToken, pollBroadcasts, ServerClock } from "./broadcasts.ts";
import { Player, Source, State, Stats, unsupported } from "./player.ts";

const $ = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const video = $<HTMLVideoElement>("video");
const clock = new ServerClock();
const player = new Player(video, () => clock.now());

/** The id in /watch/{id}; empty on `/`. */
const watchId = /^\/watch\/([^/]+)$/.exec(location.pathname)?.[1] ?? "";
let listing: Listing | undefined;
let current: Broadcast | undefined;
let refused = false; // the server does not let this page see its list
let state: State = { name: "idle" };
const lack = unsupported();

function idOf(b: Broadcast): string {
  return b.namespace.slice(b.namespace.lastIndexOf("/") + 1);
}

function sourceOf(b: Broadcast): Source {
  const { moq } = listing!;
  // A playback token in the page's address goes to the relay as it stands.
  const token = pageToken();
  const url = token ? new URL(`/playback/${idOf(b)}?tok=${encodeURIComponent(token)}`, moq.url).href : moq.url;
  return { url, certificateHashes: moq.certificateHashes ?? [], namespace: b.namespace.split("/") };
}

function play(b: Broadcast): void {
  current = b;
  setText($("title"), b.name);
  document.title = `${b.name} – broadcastd`;
  const full = $<HTMLAnchorElement>("full-page");
  full.hidden = watchId !== "";
  full.href = `/watch/${encodeURIComponent(idOf(b))}`;
  player.play(sourceOf(b));
  showList();
}

/** Picks what to play when nothing was picked, and hands on a changed address. */
function gotListing(l: Listing): void {
  listing = l;
  refused = false;
  setText($("server"), "");
  $("list").classList.remove("stale");
  if (current) {
    player.update(sourceOf(current));
  } else if (!lack) {
    const wanted = watchId ? l.broadcasts.find((b) => idOf(b) === decodeURIComponent(watchId)) : l.broadcasts.find((b) => b.live);
    if (wanted?.live) play(wanted);
  }
  showList();
  showState();
}

function lostServer(why: string, byRefusal: boolean): void {
  refused = byRefusal;
  setText($("server"), why);
  $("list").classList.add("stale");
  showState();
}

/** What somebody can do whom the server refuses. */
function refusal(): string {
  if (pageToken()) return "The playback token in this page’s address is not accepted. Ask for a new address.";
  return "This server asks for a playback token. Open the whole address that you were given, with its ?tok=…; “broadcastd url sign” makes one.";
}

const rows = new Map<string, HTMLLIElement>();

/** Brings the list up to date row by row, so that focus and screen readers are left alone. */
function showList(): void {
  const list = $("list");
  const shown = listing?.broadcasts ?? [];
  for (const [ns, row] of rows) {
    if (!shown.some((b) => b.namespace === ns)) {
      row.remove();
      rows.delete(ns);
    }
  }
  for (const [i, b] of shown.entries()) {
    let row = rows.get(b.namespace);
    if (!row) {
      row = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      for (const c of ["name", "facts"]) button.append(Object.assign(document.createElement("span"), { className: c }));
      button.firstElementChild!.append(Object.assign(document.createElement("span"), { className: "badge" }), document.createElement("span"));
      button.addEventListener("click", () => {
        const now = listing?.broadcasts.find((x) => x.namespace === b.namespace);
        if (now && !lack) play(now);
      });
      row.append(button);
      rows.set(b.namespace, row);
    }
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
    const button = row.firstElementChild!;
    button.setAttribute("aria-current", String(b.namespace === current?.namespace));
    const [badge, name] = button.firstElementChild!.children;
    badge!.className = b.live ? "badge on" : "badge";
    setText(badge!, b.live ? "LIVE" : "OFF");
    setText(name!, b.name);
    setText(button.lastElementChild!, facts(b));
  }
  $("empty").hidden = listing === undefined || shown.length > 0;
}

function facts(b: Broadcast): string {
  const parts = b.tracks.map((t) => [t.codec, t.width && t.height ? `${t.width}×${t.height}` : ""].filter(Boolean).join(" "));
  if (b.live && b.since) parts.push(`since ${new Date(b.since).toLocaleTimeString([], { timeStyle: "short" })}`);
  return parts.filter(Boolean).join(" · ");
}

function showState(): void {
  let text = "";
  if (lack) text = lack;
  else if (!current && refused) text = refusal();
  else if (!current) text = listing ? (watchId ? `“${decodeURIComponent(watchId)}” is not live. Waiting for it.` : "Nothing is live.") : "Loading…";
  else if (state.name === "connecting") text = "Connecting…";
  else if (state.name === "buffering") text = "Buffering…";
  else if (state.name === "failed") text = state.reason;
  else if (state.name === "retrying") text = `${state.reason} Trying again.`;
  // A retry begins and ends within moments: its reason stays to be read until there is a picture.
  if (text === "Connecting…" && lastReason) text = `${lastReason} Trying again.`;
  setText($("notice"), text);
  document.documentElement.dataset["state"] = lack ? "unsupported" : state.name;
}

let lastReason = "";
player.onState = (s) => {
  if (s.name === "retrying") lastReason = s.reason;
  else if (s.name !== "connecting") lastReason = "";
  state = s;
  showState();
};

const seconds = (v: number | undefined, digits = 2) => (v === undefined ? "–" : `${v.toFixed(digits)} s`);

function figures(s: Stats): Array<[string, string]> {
  const audio = s.audio ? `, ${s.audio.codec}` : "";
  return [
    ["Delay", seconds(s.delay)],
    ["Buffer (video / audio)", `${seconds(s.bufferVideo)} / ${seconds(s.bufferAudio)}`],
    ["Buffer target", seconds(s.target)],
    ["Playback rate", `${s.rate.toFixed(2)}×`],
    ["Codecs", s.video || s.audio ? (s.video?.codec ?? "no video") + audio : "–"],
    ["Picture", s.width ? `${s.width}×${s.height}, ${s.fps} fps` : "–"],
    ["Received", `${(s.bitrate / 1e6).toFixed(2)} Mbit/s`],
    ["Stalls", String(s.stalls)],
    ["Gaps jumped", String(s.gaps)],
    ["Groups skipped", String(s.skippedGroups)],
    ["Frames dropped", String(s.dropped)],
    ["First picture after", s.firstFrame === undefined ? "–" : `${Math.round(s.firstFrame)} ms`],
    ["MoQ draft", s.protocol || "–"],
  ];
}

function showFigures(): void {
  const s = player.stats();
  const list = $("figures");
  for (const [i, [name, value]] of figures(s).entries()) {
    let row = list.children[i];
    if (!row) {
      row = list.appendChild(document.createElement("div"));
      row.append(document.createElement("dt"), document.createElement("dd"));
    }
    setText(row.children[0]!, name);
    setText(row.children[1]!, value);
  }
  setText($("delay-value"), seconds(s.delay));
  const live = $<HTMLButtonElement>("live");
  const playing = s.delay !== undefined && !video.paused;
  live.disabled = s.delay === undefined;
  live.classList.toggle("on", playing && (s.bufferVideo ?? s.bufferAudio ?? 0) < s.target + 1);
  showRenditions(s);
}

function showRenditions(s: Stats): void {
  const select = $<HTMLSelectElement>("rendition");
  $("quality").hidden = s.renditions.length < 2;
  const names = s.renditions.map((t) => t.name).join("\n");
  if (select.dataset["names"] !== names) {
    select.dataset["names"] = names;
    select.replaceChildren(...s.renditions.map((t) => new Option(t.label || (t.height ? `${t.height}p` : t.name), t.name)));
  }
  if (s.video && document.activeElement !== select) select.value = s.video.name;
}

function setText(e: Element, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}

function label(id: string, text: string, key: string, off: boolean): void {
  const b = $(id);
  b.classList.toggle("off", off);
  b.setAttribute("aria-label", text);
  b.title = `${text} (${key})`;
}

const actions: Record<string, () => void> = {
  play: () => (video.paused ? player.resume() : player.pause()),
  mute: () => (video.muted = !video.muted),
  live: () => player.jump(),
  details: () => {
    const hidden = ($("figures").hidden = !$("figures").hidden);
    $("details").setAttribute("aria-pressed", String(!hidden));
  },
  fullscreen: () => {
    const screen = $("screen");
    const phone = video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }; // iPhones make only videos full screen
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (screen.requestFullscreen) void screen.requestFullscreen();
    else phone.webkitEnterFullscreen?.();
  },
};
for (const [id, act] of Object.entries(actions)) $(id).addEventListener("click", act);

const keys: Record<string, string> = { k: "play", m: "mute", f: "fullscreen", l: "live", i: "details" };
document.addEventListener("keydown", (e) => {
  const typing = e.target instanceof HTMLSelectElement || e.target instanceof HTMLInputElement;
  const action = keys[e.key.toLowerCase()];
  if (!action || typing || e.ctrlKey || e.metaKey || e.altKey) return;
  actions[action]!();
  e.preventDefault();
});

$("rendition").addEventListener("change", (e) => {
  if (current) player.play(sourceOf(current), (e.target as HTMLSelectElement).value);
});
const showPlay = () => label("play", video.paused ? "Play" : "Pause", "K", video.paused);
const showMute = () => label("mute", video.muted ? "Sound on" : "Sound off", "M", video.muted);
for (const e of ["play", "pause", "emptied"]) video.addEventListener(e, showPlay);
video.addEventListener("volumechange", showMute);

if (watchId) document.documentElement.classList.add("watch");
$("figures").hidden = watchId !== "";
$("details").setAttribute("aria-pressed", String(watchId === ""));
setText(
  $("example"),
  `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 \\
  -c:v libx264 -tune zerolatency -pix_fmt yuv420p -g 30 -c:a aac \\
  -f mp4 -movflags +frag_keyframe+empty_moov+default_base_moof -frag_duration 100000 \\
  -method POST -send_expect_100 1 -chunked_post 1 ${location.origin}/ingest/cam`,
);
showPlay();
showMute();
showState();
showFigures();
setInterval(showFigures, 250);
pollBroadcasts(clock, gotListing, lostServer);

// What automated checks read: the same figures as people see, unrounded.
Object.defineProperty(window, "broadcastd", { value: { stats: () => player.stats(), state: () => state.name } });
