// Drives the contract's control plane with a stock tRPC client, and prints what
// it got as JSON: node client.mjs v10|v11 single|batch. BASE and KEY say where and
// as whom.
import { createRequire } from 'node:module'

const [version, link] = process.argv.slice(2)
const stock = createRequire(new URL(`./${version}/`, import.meta.url))('@trpc/client')
const url = `${process.env.BASE}/api/trpc`
let requests = 0
const options = {
  url,
  headers: () => ({ authorization: `Bearer ${process.env.KEY}` }),
  fetch: (input, init) => {
    requests++
    return fetch(input, init)
  },
}
const links = [link === 'batch' ? stock.httpBatchLink(options) : stock.httpLink(options)]
const client = version === 'v10' ? stock.createTRPCProxyClient({ links }) : stock.createTRPCClient({ links })
const { liveInputs, signingKeys } = client.streams
const orgId = 'org_trpc'

// What a failure tells the program that called.
const failure = (p) =>
  p.then(
    () => ({ failed: false }),
    (e) => ({ failed: true, name: e.name, message: e.message, code: e.data?.code, httpStatus: e.data?.httpStatus, path: e.data?.path, number: e.shape?.code }),
  )

const made = await liveInputs.create.mutate({ orgId, name: `stock ${version} ${link}`, ingest: 'srt' })
requests = 0
// Calls of one tick: a batching client sends them as one request.
const [got, list, keys, missing] = await Promise.all([
  liveInputs.get.query({ orgId, id: made.id }),
  liveInputs.list.query({ orgId, page: 1, perPage: 50 }),
  signingKeys.list.query({ orgId }),
  failure(liveInputs.get.query({ orgId, id: 'li_none' })),
])
const together = requests
const [rotated, minted, invalid] = await Promise.all([
  liveInputs.rotateStreamKey.mutate({ orgId, id: made.id }),
  liveInputs.mintPlaybackToken.mutate({ orgId, id: made.id, ttlSeconds: 60 }),
  failure(liveInputs.create.mutate({ orgId, name: 'x', ingest: 'pigeon' })),
])
const unknown = await failure(client.streams.nothing.query({ orgId }))
console.log(JSON.stringify({ made, got, list, keys, missing, together, rotated, minted, invalid, unknown }))
