// One MOQT session of a subscriber over WebTransport.

import {
  codeName, Cursor, isSubgroup, notSupported, ProtocolError, PROTOCOL, Reader, readObject, readSubgroupHeader,
  setup, Status, subscribe, SubgroupHeader, Type,
} from "./wire.ts";

/** Where a subscription's objects go. Calls come in each stream's order. */
export interface Sink {
  object(group: number, id: number, payload: Uint8Array<ArrayBuffer>): void;
  /** Nothing more will come in this group. */
  groupEnd(group: number): void;
}

/** Why something ended: what a person reads and what a program branches on. */
export interface End {
  kind: "session" | "request" | "done" | "local";
  code: number;
  text: string;
}

/** Ends that another try would not change. */
export function isFinal(end: End): boolean {
  switch (end.kind) {
    case "session":
      return [0x2, 0x15, 0x16, 0x17, 0x18].includes(end.code);
    case "request":
      return [0x1, 0x3, 0x4, 0x5].includes(end.code);
    case "done":
      return end.code === 0x1;
    default:
      return false;
  }
}

/** The part of WebTransport that a session uses; tests bring their own. */
export interface Transport {
  readonly ready: Promise<unknown>;
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  readonly protocol?: string;
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly incomingBidirectionalStreams: ReadableStream<Bidi>;
  createUnidirectionalStream(o?: { waitUntilAvailable?: boolean }): Promise<WritableStream<Uint8Array>>;
  createBidirectionalStream(o?: { waitUntilAvailable?: boolean }): Promise<Bidi>;
  close(info?: { closeCode?: number; reason?: string }): void;
}

export interface Bidi {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** One track that is subscribed to. */
export class Subscription {
  /**
   * Settles when the track ends, is refused, or the session ends. Objects that
   * were on their way when the track ended still come, until close.
   */
  readonly ended: Promise<End>;
  private settle!: (e: End) => void;
  private readonly streams = new Set<Reader>();
  private cancelRequest?: () => void;
  over = false;
  closed = false;

  constructor(readonly sink: Sink) {
    this.ended = new Promise((done) => (this.settle = done));
  }

  /** @internal Says how the request is cancelled. */
  attach(cancel: () => void): void {
    if (this.closed) cancel();
    else this.cancelRequest = cancel;
  }

  /** @internal */
  finish(end: End): void {
    this.over = true;
    this.settle(end);
  }

  /** @internal Reads one subgroup to its end. */
  async read(r: Reader, h: SubgroupHeader): Promise<void> {
    this.streams.add(r);
    try {
      for (let previous = -1; !this.closed; ) {
        const o = await readObject(r, h, previous);
        if (!o || o.status !== Status.Normal) break;
        previous = o.id;
        if (!this.closed) this.sink.object(h.group, o.id, o.payload);
      }
      // Only the end that the publisher means: a reset stream may go on in another.
      if (!this.closed) this.sink.groupEnd(h.group);
    } finally {
      this.streams.delete(r);
      r.cancel();
    }
  }

  /** Ends the subscription (section 3.3.2). */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.finish({ kind: "local", code: 0, text: "closed" });
    for (const r of this.streams) r.cancel();
    this.cancelRequest?.();
  }
}

/** A stream opens once the server's limit lets it, rather than failing. */
const PATIENT = { waitUntilAvailable: true };

/** How long a data stream waits for the SUBSCRIBE_OK that names its alias. */
const ALIAS_WAIT_MS = 3000;
/** How long the reason of a session's end may lag behind its streams' ends. */
const CLOSE_WAIT_MS = 500;
/** How many data streams may wait so. */
const MAX_WAITING = 64;

export class Session {
  /** Settles when the session is over, however that came. */
  readonly ended: Promise<End>;
  private settle!: (e: End) => void;
  private over = false;
  private nextRequest = 0;
  private waiting = 0;
  private readonly tracks = new Map<number, Subscription>();
  private readonly pending = new Map<number, Array<(s: Subscription) => void>>();
  private readonly subscriptions = new Set<Subscription>();

  private constructor(private readonly wt: Transport) {
    this.ended = new Promise((done) => (this.settle = done));
  }

  /** The draft that the server chose; empty when the browser does not say. */
  get protocol(): string {
    return this.wt.protocol ?? "";
  }

  /** Opens the session. It fails with an Error that a person can read. */
  static async open(wt: Transport): Promise<Session> {
    wt.closed.catch(() => {});
    await wt.ready;
    if (wt.protocol !== undefined && wt.protocol !== PROTOCOL) {
      wt.close({ closeCode: 0x15, reason: `this page speaks ${PROTOCOL}` });
      throw new Error(`The server speaks “${wt.protocol || "no MoQ version"}”, this page ${PROTOCOL}.`);
    }
    const s = new Session(wt);
    s.run();
    const control = (await wt.createUnidirectionalStream(PATIENT)).getWriter();
    // Held open to the end: closing it closes the session (section 3.3).
    control.write(setup()).catch(() => {});
    return s;
  }

  /** Subscribes to a track. What goes wrong shows in the result's `ended`. */
  subscribe(namespace: string[], track: string, sink: Sink): Subscription {
    const sub = new Subscription(sink);
    this.subscriptions.add(sub);
    const id = this.nextRequest;
    this.nextRequest += 2;
    this.request(sub, subscribe(id, namespace, track)).catch((e) => this.failed(e, sub));
    return sub;
  }

  close(code = 0, reason = ""): void {
    this.finish({ kind: "local", code, text: reason || "closed" });
    try {
      this.wt.close({ closeCode: code, reason });
    } catch {
      // It was closed already.
    }
  }

  private run(): void {
    this.wt.closed.then(
      (info) => {
        const code = info.closeCode ?? 0;
        const why = info.reason ? `: ${info.reason}` : ".";
        this.finish({ kind: "session", code, text: `The server closed the session, ${codeName("session", code)}${why}` });
      },
      (e) => this.finish({ kind: "session", code: 1, text: `The connection was lost: ${errorText(e)}` }),
    );
    this.acceptUni().catch((e) => this.failed(e));
    this.acceptBidi().catch((e) => this.failed(e));
  }

  private finish(end: End): void {
    if (this.over) return;
    this.over = true;
    this.settle(end);
    for (const s of this.subscriptions) s.finish(end);
  }

  /** Handles an error of one stream: a broken rule ends the session, a broken stream only itself. */
  private failed(e: unknown, sub?: Subscription): void {
    if (this.over) return;
    if (e instanceof ProtocolError) {
      this.close(0x3, e.message);
      return;
    }
    if (sub) this.cutOff(sub, `The request was cut off: ${errorText(e)}`);
  }

  /** Ends a subscription whose stream broke, unless the session's own end, which says more, comes right after. */
  private cutOff(sub: Subscription, text: string): void {
    setTimeout(() => sub.finish({ kind: "request", code: 0, text }), CLOSE_WAIT_MS);
  }

  private async acceptUni(): Promise<void> {
    const streams = this.wt.incomingUnidirectionalStreams.getReader();
    for (;;) {
      const { value, done } = await streams.read();
      if (done) return;
      this.readUni(new Reader(value)).catch((e) => this.failed(e));
    }
  }

  /** Refuses what a server asks of a viewer. */
  private async acceptBidi(): Promise<void> {
    const streams = this.wt.incomingBidirectionalStreams.getReader();
    for (;;) {
      const { value, done } = await streams.read();
      if (done) return;
      const w = value.writable.getWriter();
      w.write(notSupported()).then(() => w.close()).catch(() => {});
      value.readable.cancel().catch(() => {});
    }
  }

  private async readUni(r: Reader): Promise<void> {
    const type = await r.vi();
    if (type === Type.Setup) return this.readControl(r);
    if (type === Type.Padding) return r.cancel();
    if (!isSubgroup(type)) throw new ProtocolError(`stream type 0x${type.toString(16)}`);
    const h = await readSubgroupHeader(r, type);
    const sub = this.tracks.get(h.alias) ?? (await this.awaitAlias(h.alias));
    if (!sub || sub.closed) return r.cancel();
    await sub.read(r, h);
  }

  /** Waits for the answer that a data stream has overtaken (section 11.1). */
  private awaitAlias(alias: number): Promise<Subscription | undefined> {
    if (this.waiting >= MAX_WAITING) return Promise.resolve(undefined);
    this.waiting++;
    return new Promise<Subscription | undefined>((done) => {
      const list = this.pending.get(alias) ?? [];
      this.pending.set(alias, list);
      list.push(done);
      setTimeout(done, ALIAS_WAIT_MS, undefined);
    }).finally(() => this.waiting--);
  }

  private async readControl(r: Reader): Promise<void> {
    // The stream's type was the type of its first message, SETUP; its options
    // do not concern a viewer.
    await r.bytes(((await r.u8()) << 8) | (await r.u8()));
    for (;;) {
      if (await r.ended()) throw new ProtocolError("the control stream was closed");
      const { type } = await r.message();
      if (type !== Type.Goaway) throw new ProtocolError(`message 0x${type.toString(16)} on the control stream`);
      this.finish({ kind: "session", code: 0, text: "The server is going away." });
      this.wt.close({ closeCode: 0, reason: "goaway" });
      return;
    }
  }

  private async request(sub: Subscription, bytes: Uint8Array): Promise<void> {
    const stream = await this.wt.createBidirectionalStream(PATIENT);
    const w = stream.writable.getWriter();
    await w.write(bytes);
    w.releaseLock();
    const r = new Reader(stream.readable);
    sub.attach(() => {
      r.cancel();
      stream.writable.abort().catch(() => {});
    });
    for (let answered = false; !sub.over; answered = true) {
      if (await r.ended()) {
        this.cutOff(sub, "The server ended the request too early.");
        return;
      }
      const { type, body } = await r.message();
      this.answer(sub, type, body, answered);
    }
  }

  private answer(sub: Subscription, type: number, body: Cursor, answered: boolean): void {
    if (type === Type.SubscribeOk && !answered) {
      const alias = body.vi();
      const other = this.tracks.get(alias);
      if (other && !other.over) {
        this.close(0x5, `track alias ${alias} is in use`);
        return;
      }
      this.tracks.set(alias, sub);
      for (const wake of this.pending.get(alias) ?? []) wake(sub);
      this.pending.delete(alias);
    } else if (type === Type.RequestError && !answered) {
      const code = body.vi();
      body.vi(); // retry interval: the player has its own
      const why = body.text();
      sub.finish({ kind: "request", code, text: `The server refused, ${codeName("request", code)}${why ? `: ${why}` : "."}` });
    } else if (type === Type.PublishDone && answered) {
      const code = body.vi();
      body.vi(); // stream count
      const why = body.text();
      const text = code === 0x2 ? "The broadcast has ended." : `The track ended, ${codeName("done", code)}${why ? `: ${why}` : "."}`;
      sub.finish({ kind: "done", code, text });
    } else if (type === Type.Goaway && answered) {
      sub.finish({ kind: "done", code: 0x4, text: "The server is going away." });
    } else {
      throw new ProtocolError(`message 0x${type.toString(16)} on a SUBSCRIBE stream`);
    }
  }
}

/** The text of whatever was thrown. */
export function errorText(e: unknown): string {
  return e instanceof Error && e.message ? e.message : String(e);
}

