import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import type { partitionBatches } from '../../src/adapters/kafka/partition-batches.ts'
import { partitionProperties } from './partition-properties.ts'

const SOURCE = 'src/adapters/kafka/partition-batches.ts'

/** A mistake in `partitionBatches`, as a replacement in its text. */
interface Mutation {
  readonly what: string
  readonly from: string
  readonly to: string
  readonly foundBy: keyof typeof partitionProperties
}

const mutations: readonly Mutation[] = [
  {
    what: 'the position is behind the last record, not behind the last batch',
    from: 'position = ends ? end : readTo',
    to: 'position = ends ? end : last === undefined ? position : BigInt(last) + 1n',
    foundBy: 'splits',
  },
  {
    what: 'of the aborted transactions that begin in one batch, only the first is seen',
    from: 'for (; waiting[0] !== undefined && waiting[0].firstOffset <= batch.lastOffset; waiting.shift())\n      open.add(waiting[0].producerId)',
    to: 'if (waiting[0] !== undefined && waiting[0].firstOffset <= batch.lastOffset) open.add(waiting.shift()!.producerId)',
    foundBy: 'splits',
  },
  {
    what: 'the aborted transactions are taken in the order of their ends',
    from: 'aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))',
    to: '[...aborted]',
    foundBy: 'splits',
  },
  {
    what: 'records of aborted transactions come',
    from: ' && !(batch.transactional && open.has(batch.producerId))',
    to: '',
    foundBy: 'splits',
  },
  {
    what: 'control records come',
    from: 'counts: batch.control === undefined && ',
    to: 'counts: ',
    foundBy: 'splits',
  },
  {
    what: 'a producer that aborted once is never heard again',
    from: "if (batch.control === 'abort') open.delete(batch.producerId)",
    to: '',
    foundBy: 'splits',
  },
  {
    what: 'what the batch holds before the position comes again',
    from: 'if (starts && BigInt(record.offset) < position) continue',
    to: '',
    foundBy: 'splits',
  },
  {
    what: 'batches before the position come again',
    from: 'lastOffset < position || atEnd()',
    to: 'atEnd()',
    foundBy: 'splits',
  },
  {
    what: 'a short batch of events has the position behind the whole batch of the log',
    from: 'yield { events, cursor: record.offset }',
    to: 'yield { events, cursor: String(lastOffset) }',
    foundBy: 'splits',
  },
  {
    what: 'without events, the position is not told',
    from: 'if (position > yielded) {',
    to: 'if (position > yielded && events.length > 0) {',
    foundBy: 'splits',
  },
  {
    what: 'an empty answer for the sake of a quota is taken for an empty log',
    from: 'fetched.batches.length === 0 && fetched.throttleMs === 0',
    to: 'fetched.batches.length === 0',
    foundBy: 'toHead',
  },
  {
    what: 'after one empty answer, what follows is passed over',
    from: 'if (emptyAt === position) position',
    to: 'if (true) position',
    foundBy: 'splits',
  },
  {
    what: 'a log that ends in what was compacted away is asked for ever',
    from: 'if (lastStableOffset > position) {',
    to: 'if (false) {',
    foundBy: 'splits',
  },
  {
    what: 'a cursor that was trimmed jumps to the earliest',
    from: 'if (proven || yielded > start) throw',
    to: 'if (yielded > start) throw',
    foundBy: 'splits',
  },
  {
    what: '"" that is trimmed in mid-stream jumps on',
    from: 'if (proven || yielded > start) throw',
    to: 'if (proven) throw',
    foundBy: 'splits',
  },
  {
    what: '"" is refused as trimmed',
    from: 'if (proven || yielded > start) throw',
    to: 'throw',
    foundBy: 'splits',
  },
  {
    what: 'toHead goes on to what came later',
    from: 'if (ends && BigInt(record.offset) >= end) break',
    to: '',
    foundBy: 'toHead',
  },
  {
    what: 'a head that was lost is waited for',
    from: 'if (end !== undefined && lastStableOffset < end)',
    to: 'if (false)',
    foundBy: 'lossy',
  },
  {
    what: 'a log that has left the one that was read is read on',
    from: 'if (divergingEnd < readTo)',
    to: 'if (false)',
    foundBy: 'lossy',
  },
  {
    what: "the leader is not told the last batch's epoch",
    from: 'lastEpoch = batch.leaderEpoch',
    to: '',
    foundBy: 'lossy',
  },
  {
    what: 'where the log has grown again, what is there is taken for what followed',
    from: 'throw outOfRange(log, position, bounds)',
    to: '{ proveOffset(log, position, bounds); continue }',
    foundBy: 'lossy',
  },
  {
    what: 'two replies are on their way at once',
    from: 'ahead = fetch(newest.lastOffset + 1n, newest.leaderEpoch)',
    to: '{ ahead = fetch(newest.lastOffset + 1n, newest.leaderEpoch); void fetch(newest.lastOffset + 2n, -1) }',
    foundBy: 'splits',
  },
]

test.each(mutations)('the properties find it if $what', async ({ from, to, foundBy }) => {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-mutation-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const text = await readFile(SOURCE, 'utf8')
  expect(text.split(from), `the text of ${SOURCE} has changed: change the mutation`).toHaveLength(2)
  const here = pathToFileURL(SOURCE)
  const mutant = text
    .replace(from, to)
    .replace(/'(\.\.?\/[^']+)'/g, (_, path: string) => `'${new URL(path, here).pathname}'`)
  await writeFile(join(folder, 'mutant.ts'), mutant)
  const module = (await import(/* @vite-ignore */ join(folder, 'mutant.ts'))) as {
    partitionBatches: typeof partitionBatches
  }
  const outcome = await partitionProperties[foundBy](module.partitionBatches, { endOnFailure: true }).then(
    (ends) => (foundBy === 'lossy' && ends['ahead, lost'] === undefined ? 'found' : 'missed'),
    () => 'found',
  )
  expect(outcome).toBe('found')
})
