// A WebTransport in memory, whose other end a test plays.
import { Bidi, Transport } from "../src/session.ts";

export function hex(s: string): Uint8Array {
  return Uint8Array.from(s.replace(/\s/g, "").match(/../g) ?? [], (h) => parseInt(h, 16));
}

export function toHex(b: Uint8Array): string {
  return [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
}

/** A stream of the given pieces. */
export function streamOf(...pieces: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(c) {
      for (const p of pieces) c.enqueue(p);
      c.close();
    },
  });
}

/** The same bytes, one at a time. */
export function byteByByte(b: Uint8Array): ReadableStream<Uint8Array> {
  return streamOf(...[...b].map((x) => Uint8Array.of(x)));
}

/** The server's end of a request. */
export class ServerRequest {
  private readonly toClient: TransformStream<Uint8Array, Uint8Array>;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly received: Uint8Array[] = [];
  cancelled = false;
  readonly bidi: Bidi;

  constructor() {
    this.toClient = new TransformStream();
    this.writer = this.toClient.writable.getWriter();
    this.writer.closed.catch(() => (this.cancelled = true));
    this.bidi = {
      readable: this.toClient.readable,
      writable: new WritableStream<Uint8Array>({ write: (b) => void this.received.push(b), abort: () => void (this.cancelled = true) }),
    };
  }

  send(h: string): void {
    this.writer.write(hex(h)).catch(() => {});
  }

  finish(): void {
    this.writer.close().catch(() => {});
  }
}

export class FakeTransport implements Transport {
  readonly ready = Promise.resolve();
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly incomingBidirectionalStreams: ReadableStream<Bidi>;
  readonly control: Uint8Array[] = [];
  readonly requests: ServerRequest[] = [];
  localClose?: { closeCode?: number; reason?: string };
  /** Ends the session as the server would. */
  serverClose!: (info: { closeCode?: number; reason?: string }) => void;
  private uni!: ReadableStreamDefaultController<ReadableStream<Uint8Array>>;
  private bidi!: ReadableStreamDefaultController<Bidi>;

  constructor(readonly protocol: string | undefined = "moqt-18") {
    this.closed = new Promise((done) => (this.serverClose = done));
    this.incomingUnidirectionalStreams = new ReadableStream({ start: (c) => void (this.uni = c) });
    this.incomingBidirectionalStreams = new ReadableStream({ start: (c) => void (this.bidi = c) });
  }

  async createUnidirectionalStream(): Promise<WritableStream<Uint8Array>> {
    return new WritableStream({ write: (b) => void this.control.push(b) });
  }

  async createBidirectionalStream(): Promise<Bidi> {
    const r = new ServerRequest();
    this.requests.push(r);
    return r.bidi;
  }

  close(info: { closeCode?: number; reason?: string } = {}): void {
    this.localClose ??= info;
  }

  /** Opens a stream from the server that holds these bytes. */
  openUni(h: string): void {
    this.uni.enqueue(streamOf(hex(h)));
  }

  /** Opens the server's control stream and leaves it open. */
  openControl(h = "af00 0000"): (more: string) => void {
    let c!: ReadableStreamDefaultController<Uint8Array>;
    this.uni.enqueue(new ReadableStream({ start: (x) => void (c = x) }));
    c.enqueue(hex(h));
    return (more) => c.enqueue(hex(more));
  }

  openBidi(h: string): ServerRequest {
    const r = new ServerRequest();
    r.send(h);
    this.bidi.enqueue(r.bidi);
    return r;
  }
}

/** Lets everything that is ready run. */
export function settle(): Promise<void> {
  return new Promise((done) => setTimeout(done, 10));
}
