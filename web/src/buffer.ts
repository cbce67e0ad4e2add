// One SourceBuffer, fed in order, trimmed behind the playhead.

/** Media kept behind the playhead, in seconds; trimmed once there is twice as much. */
const KEEP = 8;
/** The most that one append takes, in bytes. */
const MAX_APPEND = 1 << 20;
/** The most that waits to be appended, in bytes; more means that the page is frozen or paused. */
const MAX_QUEUE = 32 << 20;

export class TrackBuffer {
  /** What waits: media, and between it the types of what follows. */
  private queue: Array<Uint8Array<ArrayBuffer> | string> = [];
  private queued = 0;
  private full = false; // the browser refused an append for want of room

  constructor(
    private readonly buffer: SourceBuffer,
    private readonly playhead: () => number,
    private readonly failed: (e: Error) => void,
  ) {
    buffer.mode = "segments";
    buffer.addEventListener("updateend", () => this.pump());
    buffer.addEventListener("error", () => failed(new Error("The browser could not take the media in.")));
  }

  get ranges(): Array<[number, number]> {
    return toList(this.buffer.buffered);
  }

  append(data: Uint8Array<ArrayBuffer>): void {
    if (this.queued + data.length > MAX_QUEUE) {
      this.failed(new Error("More media came than the browser takes in."));
      return;
    }
    this.queue.push(data);
    this.queued += data.length;
    this.pump();
  }

  /** Says that what comes next has another type, and begins with its init data. */
  changeType(mimeType: string): void {
    this.queue.push(mimeType);
  }

  pump(): void {
    const b = this.buffer;
    try {
      if (b.updating || this.trim()) return;
      for (let type; typeof (type = this.queue[0]) === "string"; this.queue.shift()) b.changeType(type);
      if (this.queue.length === 0) return;
      b.appendBuffer(this.next());
      this.full = false;
    } catch (e) {
      if (e instanceof DOMException && e.name === "QuotaExceededError") this.full = true;
      else if (!(e instanceof DOMException && e.name === "InvalidStateError")) this.failed(e as Error);
      // InvalidStateError: the media source was detached, and this buffer with it.
    }
  }

  /** Removes old media; whether that is under way. */
  private trim(): boolean {
    const start = this.buffer.buffered.length ? this.buffer.buffered.start(0) : Infinity;
    const keep = this.full ? 1 : KEEP;
    const until = this.playhead() - keep;
    if (start >= until - (this.full ? 0 : keep)) return false;
    this.buffer.remove(0, until);
    this.full = false;
    return true;
  }

  /** As many whole objects as one append takes: fewer calls, no more delay. */
  private next(): Uint8Array<ArrayBuffer> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for (const p of this.queue) {
      if (typeof p === "string" || (size > 0 && size + p.length > MAX_APPEND)) break;
      pieces.push(p);
      size += p.length;
    }
    this.queue.splice(0, pieces.length);
    this.queued -= size;
    if (pieces.length === 1) return pieces[0]!;
    const all = new Uint8Array(size);
    let at = 0;
    for (const p of pieces) {
      all.set(p, at);
      at += p.length;
    }
    return all;
  }
}

export function toList(r: TimeRanges): Array<[number, number]> {
  const list: Array<[number, number]> = [];
  for (let i = 0; i < r.length; i++) list.push([r.start(i), r.end(i)]);
  return list;
}
