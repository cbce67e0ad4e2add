// Decodes draft-18 bytes with @moqt/transport, and encodes what it decoded
// again. Reads a JSON array of {kind, hex, order} on standard input and writes
// an array of {value, hex} or {error}, in the same order. In a value, bytes are
// "x:hex", integers "n:decimal", strings "s:text" and maps {map: [[key, value]]}.
import { readFileSync } from 'node:fs';
import {
  createControlCodec, classifyStream18, decodeSubscriptionFilter, readVi64, writeVi64, vi64EncodingLength,
  decodeSubgroupHeader18, decodeSubgroupObject18, encodeSubgroupHeader18, encodeSubgroupObject18,
  decodeObjectDatagram18, encodeObjectDatagram18,
  decodeFetchHeader18, decodeFetchObject18, encodeFetchHeader18, encodeFetchObject18, encodeFetchEndOfRange18,
} from '@moqt/transport';

const codec = createControlCodec(18);
const hex = (b) => Buffer.from(b).toString('hex');
const FILTER = 0x21n;

function dump(v) {
  if (typeof v === 'bigint' || typeof v === 'number') return `n:${v}`;
  if (typeof v === 'string') return `s:${v}`;
  if (typeof v === 'boolean') return v;
  if (v instanceof Uint8Array) return `x:${hex(v)}`;
  if (v instanceof Map) return { map: [...v].map(([k, w]) => [dump(k), dump(w)]) };
  if (Array.isArray(v)) return v.map(dump);
  const out = {};
  for (const [k, w] of Object.entries(v)) if (w !== undefined) out[k] = dump(w);
  return out;
}

// The session knows from the stream what a response does not carry.
const responses = new Set(['SUBSCRIBE_OK', 'REQUEST_OK', 'REQUEST_ERROR', 'FETCH_OK', 'PUBLISH_DONE']);

function control(b) {
  const { message, bytesRead } = codec.decode(b, 0);
  if (bytesRead !== b.length) throw new Error(`${bytesRead} of ${b.length} bytes read`);
  const { trackExtensions, ...value } = message; // an old name for trackProperties
  const filter = value.parameters?.get(FILTER);
  const again = { ...message };
  if (responses.has(message.type)) again.requestId ??= 0n;
  if (message.type === 'REQUEST_UPDATE') again.existingRequestId ??= 0n;
  return {
    value: { ...value, ...(filter && { filter: decodeSubscriptionFilter(filter[0], 18) }) },
    bytes: [codec.encode(again)],
  };
}

function subgroup(b) {
  if (classifyStream18(b, 0).kind !== 'subgroup') throw new Error(`classified as ${classifyStream18(b, 0).kind}`);
  const { header, bytesRead } = decodeSubgroupHeader18(b, 0);
  const bytes = [encodeSubgroupHeader18(header)];
  const objects = [];
  let previous = 0n;
  for (let pos = bytesRead; pos < b.length;) {
    const first = objects.length === 0;
    const { object, bytesRead: n } = decodeSubgroupObject18(b, pos, header.hasExtensions, previous, first);
    bytes.push(encodeSubgroupObject18(object, header.hasExtensions, previous, first));
    objects.push(object);
    previous = object.objectId;
    pos += n;
  }
  return { value: { header, objects }, bytes };
}

function datagram(b) {
  const { datagram, bytesRead } = decodeObjectDatagram18(b, 0);
  if (bytesRead !== b.length) throw new Error(`${bytesRead} of ${b.length} bytes read`);
  return { value: datagram, bytes: [encodeObjectDatagram18(datagram)] };
}

// One encoding of each item, in an array: its encoder has no properties and
// no datagrams, for which the item is null.
function fetchStream(b, order) {
  const { header, bytesRead } = decodeFetchHeader18(b, 0);
  const bytes = [encodeFetchHeader18(header.requestId)];
  const items = [];
  let prior, written;
  for (let pos = bytesRead; pos < b.length;) {
    const first = items.length === 0;
    const { item, bytesRead: n, nextPrior } = decodeFetchObject18(b, pos, prior, first, order);
    if ('nonExistent' in item) {
      const r = encodeFetchEndOfRange18(item.nonExistent, item.groupId, item.objectId, written);
      bytes.push(r.bytes);
      written = r.nextPrior;
    } else {
      const r = encodeFetchObject18({ ...item, publisherPriority: item.publisherPriority }, written, first, order);
      bytes.push(r.bytes);
      written = r.nextPrior;
    }
    const { flags, ...value } = item;
    items.push(value);
    prior = nextPrior;
    pos += n;
  }
  return { value: { header, items }, bytes };
}

function varint(b) {
  const { value, bytesRead } = readVi64(b, 0);
  const out = new Uint8Array(vi64EncodingLength(value));
  writeVi64(value, out, 0);
  return { value: { value, bytesRead }, bytes: [out] };
}

const kinds = { control, subgroup, datagram, fetch: fetchStream, varint };

const results = JSON.parse(readFileSync(0, 'utf8')).map(({ kind, hex: input, order }) => {
  try {
    const { value, bytes } = kinds[kind](new Uint8Array(Buffer.from(input, 'hex')), order);
    return { value: dump(value), hex: bytes.map(hex) };
  } catch (e) {
    return { error: `${e.name}: ${e.message}` };
  }
});
process.stdout.write(JSON.stringify(results));
