// Draft-18 of MOQT, as far as a subscriber needs it. Section numbers are those
// of draft-ietf-moq-transport-18.

/** The WebTransport subprotocol of this draft (section 3.1). */
export const PROTOCOL = "moqt-18";

/** Types of messages (section 10) and of unidirectional streams (section 11). */
export const enum Type {
  Subscribe = 0x03,
  SubscribeOk = 0x04,
  RequestError = 0x05,
  PublishDone = 0x0b,
  Goaway = 0x10,
  Setup = 0x2f00,
  Padding = 0x132b3e28,
}

/** A peer broke the protocol. The session is closed with PROTOCOL_VIOLATION. */
export class ProtocolError extends Error {}

/** Appends the fields of a message. */
export class Writer {
  private readonly out: number[] = [];

  /** A varint of section 1.4.1: as many leading ones as bytes follow. */
  vi(v: number): this {
    if (!Number.isSafeInteger(v) || v < 0) throw new RangeError(`not a varint: ${v}`);
    let extra = 0;
    while (extra < 7 && v >= 2 ** (7 * (extra + 1))) extra++;
    for (let i = extra; i >= 0; i--) {
      let byte = Math.floor(v / 2 ** (8 * i)) % 256;
      if (i === extra) byte |= (0xff00 >> extra) & 0xff;
      this.out.push(byte);
    }
    return this;
  }

  raw(...bytes: number[]): this {
    this.out.push(...bytes);
    return this;
  }

  text(s: string): this {
    const b = new TextEncoder().encode(s);
    this.vi(b.length);
    for (const c of b) this.out.push(c);
    return this;
  }

  namespace(fields: string[]): this {
    this.vi(fields.length);
    for (const f of fields) this.text(f);
    return this;
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.out);
  }
}

/** A whole message: type, 16-bit length, body. */
export function message(type: Type, body: Writer): Uint8Array {
  const b = body.bytes();
  if (b.length > 0xffff) throw new RangeError("message too long");
  return new Writer().vi(type).raw(b.length >> 8, b.length & 0xff, ...b).bytes();
}

/** SETUP (section 10.3) of a WebTransport client: nothing but who we are. */
export function setup(): Uint8Array {
  return message(Type.Setup, new Writer().vi(0x07).text("broadcastd-web"));
}

/**
 * SUBSCRIBE (section 10.7) from the largest object on. The relay answers such
 * a late join from the start of the current group, unless it is told to be
 * strict; then the decoder waits for the next random access point.
 */
export function subscribe(requestId: number, namespace: string[], track: string): Uint8Array {
  const filter = new Writer().vi(0x21).vi(1).vi(0x02); // SUBSCRIPTION_FILTER = Largest Object
  const body = new Writer().vi(requestId).namespace(namespace).text(track).vi(1).raw(...filter.bytes());
  return message(Type.Subscribe, body);
}

/** REQUEST_ERROR NOT_SUPPORTED, for requests that a viewer does not serve. */
export function notSupported(): Uint8Array {
  return message(Type.RequestError, new Writer().vi(0x3).vi(0).text("a viewer serves no requests"));
}

/** Reads the fields of one message body. */
export class Cursor {
  private at = 0;
  constructor(private readonly b: Uint8Array) {}

  vi(): number {
    const extra = extraBytes(this.u8());
    let v = firstBits(this.b[this.at - 1]!, extra);
    for (let i = 0; i < extra; i++) v = v * 256 + this.u8();
    return safe(v);
  }

  text(): string {
    const n = this.vi();
    if (this.at + n > this.b.length) throw new ProtocolError("a message ends within a text");
    return new TextDecoder().decode(this.b.subarray(this.at, (this.at += n)));
  }

  private u8(): number {
    if (this.at >= this.b.length) throw new ProtocolError("a message ends too early");
    return this.b[this.at++]!;
  }
}

function extraBytes(first: number): number {
  return first === 0xff ? 8 : Math.clz32(~first & 0xff) - 24;
}

function firstBits(first: number, extra: number): number {
  return extra >= 7 ? 0 : first & (0x7f >> extra);
}

function safe(v: number): number {
  if (!Number.isSafeInteger(v)) throw new ProtocolError("a varint above 2^53");
  return v;
}

/** Reads a stream piece by piece, as its bytes come. */
export class Reader {
  private readonly stream: ReadableStreamDefaultReader<Uint8Array>;
  private buf: Uint8Array = new Uint8Array(0);
  private at = 0;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.stream = stream.getReader();
  }

  /** Whether the stream has ended. Waits for its next byte or its end. */
  async ended(): Promise<boolean> {
    while (this.at >= this.buf.length) {
      const { value, done } = await this.stream.read();
      if (done) return true;
      this.buf = value;
      this.at = 0;
    }
    return false;
  }

  async u8(): Promise<number> {
    if (await this.ended()) throw new ProtocolError("a stream ends too early");
    return this.buf[this.at++]!;
  }

  async vi(): Promise<number> {
    const first = await this.u8();
    const extra = extraBytes(first);
    let v = firstBits(first, extra);
    for (let i = 0; i < extra; i++) v = v * 256 + (await this.u8());
    return safe(v);
  }

  /** The next n bytes; they do not alias the stream's. */
  async bytes(n: number): Promise<Uint8Array<ArrayBuffer>> {
    const out = new Uint8Array(n);
    for (let have = 0; have < n; ) {
      if (await this.ended()) throw new ProtocolError("a stream ends too early");
      const piece = this.buf.subarray(this.at, this.at + n - have);
      out.set(piece, have);
      have += piece.length;
      this.at += piece.length;
    }
    return out;
  }

  /** A message's type and body (section 10). */
  async message(): Promise<{ type: number; body: Cursor }> {
    const type = await this.vi();
    const length = ((await this.u8()) << 8) | (await this.u8());
    return { type, body: new Cursor(await this.bytes(length)) };
  }

  cancel(reason?: unknown): void {
    this.stream.cancel(reason).catch(() => {}); // the stream may have ended already
  }
}

/** A SUBGROUP_HEADER (section 11.4.2). */
export interface SubgroupHeader {
  alias: number;
  group: number;
  hasProperties: boolean;
}

export function isSubgroup(type: number): boolean {
  return type < 0x80 && (type & 0x10) !== 0 && (type & 0x06) !== 0x06;
}

/** Reads the rest of a subgroup header after its type. */
export async function readSubgroupHeader(r: Reader, type: number): Promise<SubgroupHeader> {
  const alias = await r.vi();
  const group = await r.vi();
  if ((type & 0x06) === 0x04) await r.vi(); // the subgroup's ID: our tracks have one subgroup a group
  if (!(type & 0x20)) await r.u8(); // publisher priority
  return { alias, group, hasProperties: (type & 0x01) !== 0 };
}

/** Object status codes (section 11.2.1.1). */
export const enum Status {
  Normal = 0,
  EndOfGroup = 3,
  EndOfTrack = 4,
}

export interface MoqObject {
  id: number;
  status: Status;
  payload: Uint8Array<ArrayBuffer>;
}

/** The largest object that we take: a whole second of 100 Mbit/s. */
const MAX_OBJECT = 16 << 20;

/** Reads the next object of a subgroup, or nothing at the stream's end. */
export async function readObject(r: Reader, h: SubgroupHeader, previous: number): Promise<MoqObject | undefined> {
  if (await r.ended()) return undefined;
  const id = previous + 1 + (await r.vi());
  if (h.hasProperties) await r.bytes(limited(await r.vi()));
  const length = limited(await r.vi());
  const status = length === 0 ? await r.vi() : Status.Normal;
  if (status !== Status.Normal && status !== Status.EndOfGroup && status !== Status.EndOfTrack) {
    throw new ProtocolError(`object status ${status}`);
  }
  return { id, status, payload: await r.bytes(length) };
}

function limited(n: number): number {
  if (n > MAX_OBJECT) throw new ProtocolError(`an object of ${n} bytes`);
  return n;
}

const SESSION_CODES: Record<number, string> = {
  0x0: "NO_ERROR",
  0x1: "INTERNAL_ERROR",
  0x2: "UNAUTHORIZED",
  0x3: "PROTOCOL_VIOLATION",
  0x4: "INVALID_REQUEST_ID",
  0x5: "DUPLICATE_TRACK_ALIAS",
  0x6: "KEY_VALUE_FORMATTING_ERROR",
  0x10: "GOAWAY_TIMEOUT",
  0x11: "CONTROL_MESSAGE_TIMEOUT",
  0x12: "DATA_STREAM_TIMEOUT",
  0x15: "VERSION_NEGOTIATION_FAILED",
  0x16: "MALFORMED_AUTH_TOKEN",
  0x18: "EXPIRED_AUTH_TOKEN",
};

const REQUEST_CODES: Record<number, string> = {
  0x0: "INTERNAL_ERROR",
  0x1: "UNAUTHORIZED",
  0x2: "TIMEOUT",
  0x3: "NOT_SUPPORTED",
  0x4: "MALFORMED_AUTH_TOKEN",
  0x5: "EXPIRED_AUTH_TOKEN",
  0x6: "GOING_AWAY",
  0x9: "EXCESSIVE_LOAD",
  0x10: "DOES_NOT_EXIST",
};

const DONE_CODES: Record<number, string> = {
  0x0: "INTERNAL_ERROR",
  0x1: "UNAUTHORIZED",
  0x2: "TRACK_ENDED",
  0x3: "SUBSCRIPTION_ENDED",
  0x4: "GOING_AWAY",
  0x5: "TOO_FAR_BEHIND",
  0x6: "EXPIRED",
  0x9: "EXCESSIVE_LOAD",
  0x12: "MALFORMED_TRACK",
};

/** A code as people read it: its name and number (section 15.10). */
export function codeName(space: "session" | "request" | "done", code: number): string {
  const names = { session: SESSION_CODES, request: REQUEST_CODES, done: DONE_CODES }[space];
  const hex = `0x${code.toString(16)}`;
  return names[code] ? `${names[code]} (${hex})` : hex;
}
