// Reads with @atproto/repo what the test wrote into a folder, prints how much agreed, and writes
// commits of its own there, as frames of the firehose.

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, modules] = process.argv.slice(2)
const require = createRequire(join(modules, 'none.js'))
const load = (name) => import(pathToFileURL(require.resolve(name)))
const {
  MST, MemoryBlockstore, Repo, WriteOpAction, blocksToCarFile,
  readCarWithRoot, verifyDiffCar, verifyProofs, verifyRecords, verifyRepoCar,
} = await load('@atproto/repo')
const { Secp256k1Keypair } = await load('@atproto/crypto')
const { encode } = await load('@atproto/lex-cbor')

const plan = JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8'))
const { did, key } = plan
const counts = { commits: 0, operations: 0, exports: 0, records: 0, claims: 0 }
const read = (car) => readFileSync(join(folder, car))
const text = (cid) => cid?.toString() ?? null
const backwards = (ops) => ops.toSorted((one, two) => (one.path < two.path ? 1 : -1))

// A mirror that is fed with slices only, as the reference applies them.
const storage = new MemoryBlockstore()
const first = await verifyRepoCar(read(plan.first.car), did, key)
await storage.applyCommit(first.commit)
let mirror = await Repo.load(storage, first.commit.cid)
assert.equal(text(mirror.data.pointer), plan.first.root)

const cids = new Map()
for (const commit of plan.commits) {
  const car = read(commit.car)
  const diff = await verifyDiffCar(mirror, car, did, key)
  const written = diff.writes.map((write) => ({
    path: `${write.collection}/${write.rkey}`,
    cid: text(write.action === 'delete' ? null : write.cid),
    prev: text(write.action === 'create' ? null : write.action === 'update' ? write.prev : write.cid),
  }))
  assert.deepEqual(backwards(written), backwards(commit.ops), commit.car)
  await storage.applyCommit(diff.commit)
  mirror = await Repo.load(storage, diff.commit.cid)
  assert.equal(text(mirror.data.pointer), commit.root)

  // And inverted, from the slice only, the last path first.
  const { blocks } = await readCarWithRoot(car)
  let tree = MST.load(new MemoryBlockstore(blocks), mirror.data.pointer)
  for (const link of diff.writes.flatMap((write) => [write.cid, write.prev ?? write.cid])) {
    cids.set(text(link), link)
  }
  for (const op of backwards(commit.ops)) {
    assert.equal(text(await tree.get(op.path)), op.cid)
    if (op.prev === null) tree = await tree.delete(op.path)
    else if (op.cid === null) tree = await tree.add(op.path, cids.get(op.prev))
    else tree = await tree.update(op.path, cids.get(op.prev))
    counts.operations += 1
  }
  assert.equal(text(await tree.getPointer()), commit.before, commit.car)
  counts.commits += 1
}

for (const { car, records } of plan.exports) {
  const { creates } = await verifyRepoCar(read(car), did, key)
  const found = creates.map((write) => [`${write.collection}/${write.rkey}`, text(write.cid)])
  assert.deepEqual(Object.fromEntries(found), records)
  assert.equal((await verifyRecords(read(car), did, key)).length, found.length)
  // Rebuilt from nothing, it is the same tree.
  let tree = await MST.create(new MemoryBlockstore())
  for (const write of creates) tree = await tree.add(`${write.collection}/${write.rkey}`, write.cid)
  const { blocks, root } = await readCarWithRoot(read(car))
  const commit = await Repo.load(new MemoryBlockstore(blocks), root)
  assert.equal(text(await tree.getPointer()), text(commit.data.pointer))
  counts.exports += 1
  counts.records += found.length
}

for (const { car, claims } of plan.proofs) {
  const all = claims.map(({ path, cid }) => {
    const [collection, rkey] = path.split('/')
    return { collection, rkey, cid: cid === null ? null : cids.get(cid) }
  })
  const { verified } = await verifyProofs(read(car), all, did, key)
  counts.claims += verified.length
}

// Commits of its own: some records, created, updated and deleted at random.
let seed = 1
const below = (bound) => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
  return (seed >>> 8) % bound
}
const keypair = await Secp256k1Keypair.create()
const own = new MemoryBlockstore()
let repo = await Repo.create(own, did, keypair)
const there = new Map()
const roots = []
for (let seq = 1; seq <= plan.theirs; seq++) {
  const ops = new Map()
  const before = repo.data.pointer
  const writes = []
  for (let n = below(6); n >= 0; n--) {
    const path = { collection: 'com.example.record', rkey: `r${below(300)}` }
    const name = `${path.collection}/${path.rkey}`
    if (ops.has(name)) continue
    const prev = there.get(name)
    const action = !prev ? 'create' : below(2) ? 'update' : 'delete'
    const record = { $type: path.collection, seq, text: 'x'.repeat(below(300)) }
    writes.push({ action: WriteOpAction[action[0].toUpperCase() + action.slice(1)], ...path, record })
    ops.set(name, { action, path: name, prev })
  }
  const commit = await repo.formatCommit(writes, keypair)
  repo = await repo.applyCommit(commit)
  for (const [name, op] of ops) {
    op.cid = await repo.data.get(name)
    if (op.cid) there.set(name, op.cid)
    else there.delete(name)
    if (!op.prev) delete op.prev
  }
  const message = {
    seq, repo: did, commit: commit.cid, rev: commit.rev, since: commit.since, prevData: before,
    blocks: await blocksToCarFile(commit.cid, commit.relevantBlocks),
    ops: [...ops.values()], blobs: [], rebase: false, tooBig: false, time: new Date().toISOString(),
  }
  const frame = [encode({ op: 1, t: '#commit' }), encode(message)]
  writeFileSync(join(folder, `${seq}.frame`), Buffer.concat(frame))
  roots.push(text(repo.data.pointer))
}
writeFileSync(join(folder, 'theirs.json'), JSON.stringify({ key: keypair.did(), roots }))

console.log(JSON.stringify(counts))
