// The server's list of broadcasts, kept fresh.

export interface Broadcast {
  name: string;
  namespace: string;
  live: boolean;
  since?: string;
  tracks: Array<{ name: string; role?: string; codec?: string; width?: number; height?: number }>;
}

export interface Listing {
  broadcasts: Broadcast[];
  moq: { url: string; certificateHashes?: string[] };
  time: string;
}

const EVERY_MS = 2000;
const HIDDEN_MS = 15_000;

/** The server's clock. Of several answers the quickest is the most exact. */
export class ServerClock {
  private offset = 0;
  private best = Infinity;

  now(): number {
    return Date.now() + this.offset;
  }

  /** Takes in an answer: sent and received in the viewer's time, server in the server's, all in ms. */
  sample(sent: number, received: number, server: number): void {
    const trip = received - sent;
    if (!Number.isFinite(server) || trip > this.best) {
      this.best += 1; // clocks drift: what was measured long ago counts less and less
      return;
    }
    this.best = trip;
    const offset = server - (sent + received) / 2;
    // Below what the trip can tell, clocks count as equal.
    this.offset = Math.abs(offset) <= trip / 2 + 1 ? 0 : offset;
  }
}

/** The playback token in the page's address; empty if there is none. */
export function pageToken(): string {
  return new URLSearchParams(location.search).get("tok") ?? "";
}

/** Where the list is. The token goes with the question. */
function listPath(): string {
  const token = pageToken();
  return "/api/v1/broadcasts" + (token ? `?tok=${encodeURIComponent(token)}` : "");
}

/** Calls got with each new listing, and lost when there was none: refused tells that the server did not want to. */
export function pollBroadcasts(clock: ServerClock, got: (l: Listing) => void, lost: (why: string, refused: boolean) => void): void {
  let timer: ReturnType<typeof setTimeout>;
  const poll = async () => {
    try {
      const sent = Date.now();
      const answer = await fetch(listPath(), { cache: "no-store", signal: AbortSignal.timeout(5000) });
      const received = Date.now();
      if (answer.status === 403) {
        const problem = (await answer.json()) as { detail: string };
        return lost(`The server refuses: ${problem.detail.slice(0, 200)}.`, true);
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const listing = (await answer.json()) as Listing;
      clock.sample(sent, received, Date.parse(listing.time));
      got(listing);
    } catch (e) {
      lost(`The server does not answer (${e instanceof Error ? e.message : String(e)}).`, false);
    } finally {
      timer = setTimeout(poll, document.hidden ? HIDDEN_MS : EVERY_MS);
    }
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    clearTimeout(timer);
    void poll();
  });
  void poll();
}
