// What the pages on the @moqt core share: the session, and names as bytes.
import { MoqtConnection } from "@moqt/webtransport";

export const query = new URLSearchParams(location.search);

const utf8 = new TextEncoder();
export const bytes = (text) => utf8.encode(text);
export const fields = (path) => path.split("/").map(bytes);

/** A WebTransport that offers draft-18 to a server whose certificate has this SHA-256. */
export function dial(url = query.get("url"), hash = query.get("hash")) {
  const value = Uint8Array.from(hash.match(/../g), (h) => parseInt(h, 16));
  return new WebTransport(url, {
    allowPooling: false,
    protocols: ["moqt-18"],
    serverCertificateHashes: [{ algorithm: "sha-256", value }],
  });
}

/** The core's session on a transport. `report` gets what the core takes amiss. */
export async function connect(transport, report) {
  await transport.ready;
  const session = new MoqtConnection();
  session.onError = (e) => report(String(e));
  session.onClose = (code, reason) => report(`closed ${code} ${reason ?? ""}`);
  await session.connect(transport);
  return session;
}
