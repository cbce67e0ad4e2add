// Puts the objects of a track into decode order.

interface Group {
  queue: Uint8Array<ArrayBuffer>[];
  /** The smallest object ID that is still wanted. */
  next: number;
  ended: boolean;
  /** When its first object came, in ms. */
  since: number;
}

/** The most bytes that wait for an older group. */
const MAX_PENDING = 16 << 20;

/**
 * A Sequencer takes objects as their streams deliver them, groups side by
 * side, and gives them back group by group. A group that does not end holds
 * the next one up for a while only: then its rest is skipped, because a viewer
 * wants the live edge. It keeps no clock; the caller says what time it is.
 */
export class Sequencer {
  private readonly groups = new Map<number, Group>();
  private current: number | undefined;
  private pending = 0; // bytes

  /** Groups that were left before their end. */
  skipped = 0;
  /** Objects that came after their group was left, or twice. */
  late = 0;

  push(group: number, id: number, payload: Uint8Array<ArrayBuffer>, now: number): void {
    const g = this.open(group, now);
    if (!g || id < g.next) {
      this.late++;
      return;
    }
    g.next = id + 1;
    g.queue.push(payload);
    this.pending += payload.length;
    while (this.pending > MAX_PENDING && this.groups.size > 1) this.leave(this.oldest()!);
  }

  end(group: number, now: number): void {
    const g = this.open(group, now);
    if (g) g.ended = true;
  }

  /**
   * The next object in order, if it is there. Patience is how long, in ms, a
   * newer group waits for the rest of an older one.
   */
  pull(now: number, patience: number): { group: number; payload: Uint8Array<ArrayBuffer> } | undefined {
    for (;;) {
      this.current ??= this.oldest();
      if (this.current === undefined) return undefined;
      const g = this.groups.get(this.current);
      const payload = g?.queue.shift();
      if (payload) {
        this.pending -= payload.length;
        return { group: this.current, payload };
      }
      const newer = this.oldest(this.current);
      if (newer === undefined) return undefined;
      const inOrder = g === undefined || g.ended;
      if (!(inOrder && newer === this.current + 1)) {
        if (now - this.groups.get(newer)!.since < patience) return undefined;
        if (!inOrder) this.skipped++;
      }
      this.groups.delete(this.current);
      this.current = newer;
    }
  }

  private open(group: number, now: number): Group | undefined {
    if (this.current !== undefined && group < this.current) return undefined;
    let g = this.groups.get(group);
    if (!g) {
      g = { queue: [], next: 0, ended: false, since: now };
      this.groups.set(group, g);
    }
    return g;
  }

  /** The smallest group above the given one. */
  private oldest(above = -1): number | undefined {
    let least: number | undefined;
    for (const id of this.groups.keys()) {
      if (id > above && (least === undefined || id < least)) least = id;
    }
    return least;
  }

  private leave(group: number): void {
    for (const o of this.groups.get(group)!.queue) this.pending -= o.length;
    this.groups.delete(group);
    this.skipped++;
    this.current = this.oldest();
  }
}
