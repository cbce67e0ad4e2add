// Plays one broadcast into a video element: session, catalog, tracks, buffers.

import { TrackBuffer, toList } from "./buffer.ts";
import { Catalog, choose, parseCatalog, Track } from "./catalog.ts";
import { Sequencer } from "./groups.ts";
import { LiveEdge } from "./liveedge.ts";
import { End, errorText, isFinal, Session, Sink, Subscription, Transport } from "./session.ts";

export interface Source {
  /** The WebTransport address, with whatever credentials its path and query carry. */
  url: string;
  /** SHA-256, in hexadecimal, of the certificates to accept; none for one that is trusted anyway. */
  certificateHashes: string[];
  namespace: string[];
}

export type State =
  | { name: "idle" }
  | { name: "connecting" } // session, then catalog, then first media
  | { name: "playing" }
  | { name: "buffering" }
  | { name: "retrying"; reason: string; afterMs: number }
  | { name: "failed"; reason: string };

export interface Stats {
  delay?: number; // s against the wall clock
  bufferVideo?: number; // s ahead of the playhead
  bufferAudio?: number;
  target: number; // s
  rate: number;
  stalls: number;
  gaps: number;
  skippedGroups: number;
  dropped: number; // frames
  fps: number;
  bitrate: number; // bits per second received
  protocol: string;
  firstFrame?: number; // ms from the start of this try
  video?: Track;
  audio?: Track;
  width: number;
  height: number;
  renditions: Track[];
}

/** How long a newer group waits for an older one's rest, in ms: longer while there is a buffer. */
const PATIENCE = 500;
const PATIENCE_DRY = 100;
const TICK_MS = 100;
const CATALOG_MS = 10_000;
const SILENCE_MS = 8_000; // without an object a session is taken for dead
const PAUSE_MS = 15_000; // a longer pause gives the connection back
const PLAY_OUT_MS = 3000;
const RETRY_MS = [500, 1000, 2000, 4000];

interface Lane {
  track: Track; // whose init data was appended last
  next?: Track; // the same track with other init data, from its initGroup on
  group: number; // of what was appended last
  sequencer: Sequencer;
  buffer: TrackBuffer;
  subscription?: Subscription;
}

export class Player {
  onState: (s: State) => void = () => {};
  private source?: Source;
  private wanted = ""; // rendition
  private attempt = 0; // grows with each start and stop: what belongs to an older one is over
  private failures = 0;
  private session?: Session;
  private lanes: Lane[] = [];
  private edge = new LiveEdge();
  private originMs = 0;
  private renditions: Track[] = [];
  private began = 0;
  private firstFrame?: number;
  private lastObject = 0;
  private pausedSince?: number;
  private stalls = 0;
  private gaps = 0;
  private received = 0; // bytes
  private meter = { at: 0, bytes: 0, frames: 0, bitrate: 0, fps: 0 };
  private retry?: ReturnType<typeof setTimeout>;
  private broke?: (e: Error) => void;

  constructor(
    private readonly video: HTMLVideoElement,
    /** The server's clock, in ms since 1970. */
    private readonly wallClock: () => number,
  ) {
    video.addEventListener("waiting", () => this.ranDry());
    video.addEventListener("playing", () => this.played());
    video.addEventListener("pause", () => (this.pausedSince = performance.now()));
    video.addEventListener("error", () => this.broke?.(new Error(video.error?.message || "The browser cannot decode this.")));
    setInterval(() => this.tick(), TICK_MS);
  }

  /** Starts playing, instead of whatever plays now. */
  play(source: Source, rendition = ""): void {
    this.stop();
    this.source = source;
    this.wanted = rendition;
    this.failures = 0;
    this.stalls = this.gaps = 0;
    void this.start();
  }

  /** Takes the address of a later try, such as after a change of certificate. */
  update(source: Source): void {
    if (this.source) this.source = source;
  }

  stop(): void {
    this.attempt++;
    clearTimeout(this.retry);
    this.source = undefined;
    this.release();
    this.onState({ name: "idle" });
  }

  pause(): void {
    this.video.pause();
  }

  /** Goes on at the live edge. */
  resume(): void {
    this.pausedSince = undefined;
    if (!this.source) return;
    if (!this.session) {
      clearTimeout(this.retry);
      void this.start();
    } else {
      this.edge.jump();
      this.tick();
      this.video.play().catch(() => {});
    }
  }

  jump(): void {
    if (this.video.paused) this.resume();
    this.edge.jump();
    this.tick();
  }

  private release(): void {
    for (const l of this.lanes) l.subscription?.close();
    this.lanes = [];
    this.session?.close();
    this.session = undefined;
    this.broke = undefined;
  }

  private async start(): Promise<void> {
    const source = this.source!;
    const attempt = ++this.attempt;
    this.release();
    this.began = this.lastObject = performance.now();
    this.firstFrame = undefined;
    this.edge = new LiveEdge();
    this.onState({ name: "connecting" });
    let end: End;
    try {
      end = await this.run(source, attempt);
    } catch (e) {
      end = { kind: "local", code: 1, text: errorText(e) };
    }
    if (end.kind === "done") await this.playOut(attempt);
    if (attempt !== this.attempt) return;
    this.release();
    if (isFinal(end)) {
      this.onState({ name: "failed", reason: end.text });
      return;
    }
    const afterMs = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)]!;
    this.onState({ name: "retrying", reason: end.text, afterMs });
    this.retry = setTimeout(() => void this.start(), afterMs);
  }

  /** Lets what has come play to its end. */
  private async playOut(attempt: number): Promise<void> {
    for (let ms = 0; ms < PLAY_OUT_MS && attempt === this.attempt && !this.video.paused; ms += TICK_MS) {
      if (this.lanes.some((l) => this.ahead(l) < 0.15)) return; // tracks do not end at the same moment
      await after(TICK_MS);
    }
  }

  /** One try from the connection to its end. */
  private async run(source: Source, attempt: number): Promise<End> {
    const wt = connect(source);
    let session: Session;
    try {
      session = await Session.open(wt);
    } catch (e) {
      throw new Error(connectText(source, e));
    }
    if (attempt !== this.attempt) {
      session.close();
      return { kind: "local", code: 0, text: "" };
    }
    this.session = session;
    const catalogs = new CatalogSink();
    const catalogTrack = session.subscribe(source.namespace, "catalog", catalogs);
    const first = await Promise.race([catalogs.next(), catalogTrack.ended, after(CATALOG_MS)]);
    if (!first) throw new Error(`No catalog came within ${CATALOG_MS / 1000} s.`);
    if ("kind" in first) return first;
    if (first instanceof Error) throw first;
    const over = new Promise<never>((_, fail) => (this.broke = fail));
    const ends = await Promise.race([this.setUp(session, source, first, attempt), over]);
    return Promise.race([...ends, session.ended, catalogTrack.ended, this.watchCatalog(catalogs), over]);
  }

  /** Opens the buffers and subscribes; the result settles as tracks end. */
  private async setUp(session: Session, source: Source, catalog: Catalog, attempt: number): Promise<Promise<End>[]> {
    const { video, audio, renditions } = choose(catalog, decodes, this.wanted);
    const tracks = [video, audio].filter((t): t is Track => t !== undefined);
    if (tracks.length === 0) {
      const codecs = catalog.tracks.map((t) => t.codec).join(", ");
      throw new Error(codecs ? `This browser decodes none of the tracks (${codecs}).` : "The broadcast has no tracks yet.");
    }
    this.renditions = renditions;
    this.originMs = catalog.originMs;
    const ms = await openMediaSource(this.video);
    if (attempt !== this.attempt) return [];
    ms.duration = Infinity;
    this.lanes = tracks.map((track) => {
      const fail = (e: Error) => this.broke?.(e);
      const buffer = new TrackBuffer(ms.addSourceBuffer(track.mimeType), () => this.video.currentTime, fail);
      buffer.append(track.init);
      return { track, group: -1, sequencer: new Sequencer(), buffer };
    });
    return this.lanes.map((lane) => {
      lane.subscription = session.subscribe(source.namespace, lane.track.name, this.sink(lane));
      return lane.subscription.ended;
    });
  }

  private sink(lane: Lane): Sink {
    return {
      object: (group, id, payload) => {
        const now = performance.now();
        this.lastObject = now;
        this.received += payload.length;
        lane.sequencer.push(group, id, payload, now);
        this.feed(lane, now);
      },
      groupEnd: (group) => {
        const now = performance.now();
        lane.sequencer.end(group, now);
        this.feed(lane, now);
      },
    };
  }

  private feed(lane: Lane, now: number): void {
    const patience = this.ahead(lane) > this.edge.target / 2 ? PATIENCE : PATIENCE_DRY;
    for (let o; (o = lane.sequencer.pull(now, patience)); ) {
      if (o.group < lane.track.initGroup) continue; // needs init data that we never had
      if (lane.next && o.group >= lane.next.initGroup) {
        lane.track = lane.next;
        lane.next = undefined;
        lane.buffer.changeType(lane.track.mimeType);
        lane.buffer.append(lane.track.init);
      }
      lane.group = o.group;
      lane.buffer.append(o.payload);
    }
  }

  /** Follows the catalog. A change of what plays starts the player afresh. */
  private async watchCatalog(catalogs: CatalogSink): Promise<End> {
    for (;;) {
      const c = await catalogs.next();
      if (c instanceof Error) throw c;
      if (c.complete) return { kind: "done", code: 0x2, text: "The broadcast has ended." };
      this.originMs = c.originMs;
      const { video, audio } = choose(c, decodes, this.wanted);
      if (!this.follow("video", video) || !this.follow("audio", audio)) {
        this.failures = 0;
        return { kind: "done", code: 0, text: "The tracks have changed." };
      }
    }
  }

  /** Takes what a new catalog says of a role; false when that needs a fresh start. */
  private follow(role: string, now?: Track): boolean {
    const lane = this.lanes.find((l) => l.track.role === role);
    const was = lane?.next ?? lane?.track;
    if (!lane || !was || !now || was.name !== now.name) return was === now;
    if (was.initKey === now.initKey && was.mimeType === now.mimeType) return true;
    if (lane.group >= now.initGroup) return false; // such media was appended as if it were of the old kind
    lane.next = now;
    return true;
  }

  private ranDry(): void {
    if (!this.session || this.video.seeking || this.firstFrame === undefined) return;
    this.stalls++;
    this.edge.stalled(performance.now() / 1000);
    this.onState({ name: "buffering" });
  }

  private played(): void {
    if (!this.session) return;
    this.failures = 0;
    if (this.firstFrame === undefined) {
      this.firstFrame = performance.now() - this.began;
      this.measure(performance.now()); // rates count from here
    }
    this.onState({ name: "playing" });
  }

  private tick(): void {
    if (!this.session || this.lanes.length === 0) return;
    const now = performance.now();
    for (const l of this.lanes) {
      this.feed(l, now);
      l.buffer.pump();
    }
    if (now - this.lastObject > SILENCE_MS) this.broke?.(new Error(`No media came for ${SILENCE_MS / 1000} s.`));
    const v = this.video;
    if (v.paused && this.pausedSince !== undefined && now - this.pausedSince > PAUSE_MS) {
      this.attempt++;
      this.release();
      return;
    }
    if (v.seeking) return;
    const act = this.edge.step({ now: now / 1000, time: v.currentTime, ranges: toList(v.buffered), paused: v.paused });
    if (act.gap) this.gaps++;
    if (act.seek !== undefined) {
      v.currentTime = act.seek;
      if (this.pausedSince === undefined) v.play().catch(() => {});
    }
    if (v.playbackRate !== act.rate) v.playbackRate = act.rate;
  }

  private ahead(lane: Lane): number {
    const t = this.video.currentTime;
    for (const [start, end] of lane.buffer.ranges) if (t >= start - 0.001 && t < end) return end - t;
    return 0;
  }

  /** Takes frames and bits per second since the last call. */
  private measure(now: number): void {
    const m = this.meter;
    const seconds = (now - m.at) / 1000;
    const frames = this.video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    m.fps = Math.max(0, Math.round((frames - m.frames) / seconds));
    m.bitrate = Math.max(0, (8 * (this.received - m.bytes)) / seconds);
    Object.assign(m, { at: now, bytes: this.received, frames });
  }

  stats(): Stats {
    const v = this.video;
    const now = performance.now();
    const frames = v.getVideoPlaybackQuality?.();
    if (now - this.meter.at > 1000) this.measure(now);
    const lane = (role: string) => this.lanes.find((l) => l.track.role === role);
    const buffer = (l?: Lane) => (l ? this.ahead(l) : undefined);
    return {
      delay: this.firstFrame === undefined || !this.session ? undefined : (this.wallClock() - this.originMs) / 1000 - v.currentTime,
      bufferVideo: buffer(lane("video")),
      bufferAudio: buffer(lane("audio")),
      target: this.edge.target,
      rate: v.playbackRate,
      stalls: this.stalls,
      gaps: this.gaps,
      skippedGroups: this.lanes.reduce((n, l) => n + l.sequencer.skipped, 0),
      dropped: frames?.droppedVideoFrames ?? 0,
      fps: this.meter.fps,
      bitrate: this.meter.bitrate,
      protocol: this.session?.protocol ?? "",
      firstFrame: this.firstFrame,
      video: lane("video")?.track,
      audio: lane("audio")?.track,
      width: v.videoWidth,
      height: v.videoHeight,
      renditions: this.renditions,
    };
  }
}

/** Receives catalogs. Each is whole, and only the newest counts. */
class CatalogSink implements Sink {
  private newest = -1;
  private value?: Catalog | Error;
  private wake?: () => void;

  object(group: number, id: number, payload: Uint8Array): void {
    if (id !== 0 || group < this.newest) return; // later objects of a group are deltas: we send none
    this.newest = group;
    try {
      this.value = parseCatalog(payload);
    } catch (e) {
      this.value = e as Error;
    }
    this.wake?.();
  }

  groupEnd(): void {}

  async next(): Promise<Catalog | Error> {
    while (!this.value) await new Promise<void>((done) => (this.wake = done));
    const v = this.value;
    this.value = undefined;
    return v;
  }
}

function after(ms: number): Promise<undefined> {
  return new Promise((done) => setTimeout(done, ms, undefined));
}

function connect(s: Source): Transport {
  const options: WebTransportOptions & { protocols: string[] } = { allowPooling: false, congestionControl: "low-latency", protocols: ["moqt-18"] };
  if (s.certificateHashes.length > 0) {
    const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (h) => parseInt(h, 16));
    options.serverCertificateHashes = s.certificateHashes.map((h) => ({ algorithm: "sha-256", value: bytes(h) }));
  }
  return new WebTransport(s.url, options) as unknown as Transport;
}

/** A page learns no more of a refused connection than that it failed. */
function connectText(s: Source, e: unknown): string {
  const address = new URL(s.url).host;
  const cause = errorText(e).replace(/\.$/, "");
  const old = "protocol" in WebTransport.prototype ? "" : " This browser also cannot name the MoQ draft that it speaks, which the server asks for.";
  return `No WebTransport session with ${address} (${cause}). UDP to that port may be blocked, or the server has gone.${old}`;
}

/** iPhones have ManagedMediaSource only. */
function mediaSource(): typeof MediaSource {
  const own = window as unknown as { ManagedMediaSource?: typeof MediaSource };
  return window.MediaSource ?? own.ManagedMediaSource;
}

function decodes(mimeType: string): boolean {
  return mediaSource().isTypeSupported(mimeType);
}

/** What this browser lacks to play, in a sentence; empty if it lacks nothing. */
export function unsupported(): string {
  if (!window.isSecureContext) {
    return `Browsers allow WebTransport on secure pages only. Open this page as https://, or on the machine itself as http://localhost:${location.port || 80}/.`;
  }
  if (typeof WebTransport === "undefined") {
    return "This browser has no WebTransport, which this player needs. Chrome, Edge and Firefox have it, and Safari from 26.4 on.";
  }
  if (!mediaSource()) return "This browser has no Media Source Extensions, which this player needs.";
  return "";
}

async function openMediaSource(video: HTMLVideoElement): Promise<MediaSource> {
  const ms = new (mediaSource())();
  const url = URL.createObjectURL(ms);
  video.disableRemotePlayback = true;
  const opened = new Promise<void>((done) => ms.addEventListener("sourceopen", () => done(), { once: true }));
  video.src = url;
  await opened;
  URL.revokeObjectURL(url);
  return ms;
}
