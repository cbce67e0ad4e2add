// What a page learns when a relay lets it not in: /moqt-refused.html, then
// attempt("https://host:port/playback/demo?tok=…", "HEX", "stream/local/demo").
import { bytes, connect, dial, fields } from "./moqt.js";

const within = (ms, what, promise) =>
  Promise.race([promise, new Promise((_, fail) => setTimeout(fail, ms, new Error(`${what}: not within ${ms} ms`)))]);

/** Opens a session, subscribes, waits for the end, and returns what each of these said. */
window.attempt = async (url, hash, name) => {
  const seen = { ready: false, request: "", closeCode: -1, reason: "" };
  const wt = dial(url, hash);
  const closed = wt.closed.then(
    (info) => Object.assign(seen, { closeCode: info.closeCode ?? 0, reason: info.reason ?? "" }),
    (e) => Object.assign(seen, { reason: `rejected: ${e}` }),
  );
  try {
    await within(5000, "ready", wt.ready);
    seen.ready = true;
    const session = await within(5000, "SETUP", connect(wt, () => {}));
    await within(5000, "answer", session.subscribeTrack(fields(name), bytes("catalog")));
    wt.close();
    return { ...seen, request: "accepted" };
  } catch (e) {
    seen.request = String(e?.message ?? e);
  }
  await within(5000, "closed", closed).catch((e) => (seen.reason = String(e)));
  return seen;
};
