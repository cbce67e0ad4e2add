// The MSF catalog (draft-ietf-moq-msf, version draft-01) with CMSF's packaging.

export interface Track {
  name: string;
  role: "video" | "audio";
  codec: string;
  mimeType: string; // with the codecs parameter, as MediaSource wants it
  init: Uint8Array<ArrayBuffer>;
  initKey: string; // equal for equal init data
  /** The first group that the init data describes; 0: all of them. */
  initGroup: number;
  label: string;
  width: number;
  height: number;
  framerate: number;
  bitrate: number;
}

export interface Catalog {
  tracks: Track[];
  /** No more tracks or content will come. */
  complete: boolean;
  /** UTC of media time 0, in ms since 1970; left out, it is 1970 itself. */
  originMs: number;
}

type Json = Record<string, unknown>;

/** Reads one whole catalog. Unknown fields and tracks of other kinds are left out. */
export function parseCatalog(payload: Uint8Array): Catalog {
  const root = JSON.parse(new TextDecoder().decode(payload)) as Json;
  const version = root["version"];
  if (version !== "draft-01" && version !== 1 && version !== "1") {
    throw new Error(`The catalog has version ${JSON.stringify(version)}; this page reads draft-01.`);
  }
  if (!Array.isArray(root["tracks"])) throw new Error("The catalog has no list of tracks.");
  const inits = new Map<string, string>();
  for (const i of objects(root["initDataList"])) {
    if (i["type"] === "inline") inits.set(text(i["id"]), text(i["data"]));
  }
  return {
    tracks: objects(root["tracks"]).flatMap((t) => track(t, inits)),
    complete: root["isComplete"] === true,
    originMs: number(root["mediaTimeOrigin"]),
  };
}

function track(t: Json, inits: Map<string, string>): Track[] {
  const role = t["role"];
  if (t["packaging"] !== "cmaf" || (role !== "video" && role !== "audio")) return [];
  const initKey = inits.get(text(t["initRef"])) ?? text(t["initData"]);
  const codec = text(t["codec"]);
  const name = text(t["name"]);
  if (!initKey || !codec || !name) return [];
  const container = text(t["mimeType"]).split(";")[0] || `${role}/mp4`;
  return [
    {
      name,
      role,
      codec,
      mimeType: `${container}; codecs="${codec}"`,
      init: Uint8Array.from(atob(initKey), (c) => c.charCodeAt(0)),
      initKey,
      initGroup: number(t["initGroup"]),
      label: text(t["label"]),
      width: number(t["width"]),
      height: number(t["height"]),
      framerate: number(t["framerate"]),
      bitrate: number(t["bitrate"]),
    },
  ];
}

function objects(v: unknown): Json[] {
  return Array.isArray(v) ? v.filter((x): x is Json => typeof x === "object" && x !== null) : [];
}

function text(v: unknown): string {
  return typeof v === "string" ? v : "";
}

function number(v: unknown): number {
  return typeof v === "number" && Number.isFinite(v) ? v : 0;
}

/**
 * What to play of a catalog: the video track of that name, or else the
 * largest that the browser decodes, and the first audio track that it decodes.
 */
export function choose(
  catalog: Catalog,
  supported: (mimeType: string) => boolean,
  wanted = "",
): { video?: Track; audio?: Track; renditions: Track[] } {
  const playable = catalog.tracks.filter((t) => supported(t.mimeType));
  const renditions = playable
    .filter((t) => t.role === "video")
    .sort((a, b) => b.width * b.height - a.width * a.height || b.bitrate - a.bitrate);
  return {
    video: renditions.find((t) => t.name === wanted) ?? renditions[0],
    audio: playable.find((t) => t.role === "audio"),
    renditions,
  };
}
