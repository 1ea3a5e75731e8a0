import fc from 'fast-check'
import type { HistoryOperation, HistoryOutcome, PolledRecord } from '../../../src/testing/history/index.ts'

/** One thing that happens; numbers choose among what there is, and what does not apply does nothing. */
type Step =
  | { do: 'begin'; client: number }
  | {
      do: 'send'
      client: number
      partition: number
      count: number
      how: 'ok' | 'ok, no offset' | 'failed' | 'unknown, now' | 'unknown, late' | 'unknown, never'
    }
  | { do: 'retry'; client: number; which: number }
  | {
      do: 'end'
      client: number
      how: 'commit' | 'commit failed' | 'abort' | 'abort unknown' | 'commit unknown' | 'crash'
      commits: boolean
      late: boolean
      rewinds: boolean
    }
  | { do: 'poll'; client: number; count: number; partitions: number }
  | { do: 'bad poll'; client: number; outcome: 'failed' | 'unknown'; moved: number }
  | { do: 'seek'; client: number; partition: number; to: number; outcome: HistoryOutcome; moves: boolean }
  | { do: 'rebalance'; member: number; partition: number }
  | { do: 'group poll'; partition: number; count: number; crash: boolean }
  | { do: 'settle'; which: number }

/** What a log is like, and what its clients do. */
export interface World {
  readonly partitions: number
  readonly offsets: 'sequence' | 'entry id'
  /** Whether a transaction's values are appended at its commit, side by side, or as they are sent (Kafka). */
  readonly buffered: boolean
  /** Whether the log drops a value that it has: clients may then send again. */
  readonly dedupes: boolean
  readonly drained: boolean
  readonly batch: number
  readonly steps: readonly Step[]
}

const small = fc.nat(30)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('begin' as const), client: small }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      client: small,
      partition: small,
      count: fc.integer({ min: 1, max: 3 }),
      how: fc.constantFrom(
        'ok',
        'ok',
        'ok',
        'ok, no offset',
        'failed',
        'unknown, now',
        'unknown, late',
        'unknown, never',
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('retry' as const), client: small, which: small }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      client: small,
      how: fc.constantFrom('commit', 'commit', 'commit failed', 'abort', 'abort unknown', 'commit unknown', 'crash'),
      commits: fc.boolean(),
      late: fc.boolean(),
      rewinds: fc.boolean(),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('poll' as const),
      client: small,
      count: fc.integer({ min: 0, max: 6 }),
      partitions: fc.integer({ min: 1, max: 7 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('bad poll' as const),
      client: small,
      outcome: fc.constantFrom('failed', 'unknown'),
      moved: fc.nat(3),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('seek' as const),
      client: small,
      partition: small,
      to: small,
      outcome: fc.constantFrom<HistoryOutcome>('ok', 'ok', 'failed', 'unknown'),
      moves: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rebalance' as const), member: small, partition: small }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('group poll' as const),
      partition: small,
      count: fc.nat(4),
      crash: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('settle' as const), which: small }) },
)

/** Worlds in which nothing goes wrong. `drained`: whether everything is read in the end; both, if left out. */
export function worlds({ drained, minSteps = 0 }: { drained?: boolean; minSteps?: number } = {}): fc.Arbitrary<World> {
  return fc.record({
    partitions: fc.integer({ min: 1, max: 3 }),
    offsets: fc.constantFrom('sequence', 'entry id'),
    buffered: fc.boolean(),
    dedupes: fc.boolean(),
    drained: drained === undefined ? fc.boolean() : fc.constant(drained),
    batch: fc.integer({ min: 1, max: 5 }),
    steps: fc.array(step, { minLength: minSteps, maxLength: 80, size: 'max' }),
  })
}

interface Transaction {
  readonly id: string
  state: 'open' | 'committed' | 'aborted'
  readonly buffer: { readonly partition: number; readonly value: string }[]
  readonly saved: Map<number, number>
}

interface Client {
  name: string
  transaction: Transaction | undefined
  readonly positions: number[]
}

type Slot = { readonly value: string | undefined; readonly transaction: Transaction | undefined }

/** What a value's send said, for those who plant anomalies. */
export interface Sent {
  readonly value: string
  readonly partition: string
  readonly process: string
  /** The send's index in the history. */
  readonly operation: number
  readonly outcome: HistoryOutcome
  readonly offset: string | undefined
  readonly transaction: string | undefined
}

/** A history of a log that keeps every promise, and what really is in that log. */
export interface CorrectLog {
  readonly history: readonly HistoryOperation[]
  readonly sent: readonly Sent[]
  /** Values that were sent again. */
  readonly retried: ReadonlySet<string>
  /** Per partition, what its readers are to see, in order. */
  readonly visible: ReadonlyMap<string, readonly PolledRecord[]>
  /** An offset that is beyond all of them. */
  offsetAfter(n: number): string
}

/** Lets the world run. */
export function correctLog(world: World): CorrectLog {
  const { partitions, buffered, dedupes } = world
  const history: HistoryOperation[] = []
  const sent: Sent[] = []
  const retried = new Set<string>()
  const slots: Slot[][] = Array.from({ length: partitions }, () => [])
  const pending: (() => void)[] = []
  const nameOf = (partition: number): string => `t-${partition}`
  const offsetOf = (slot: number): string =>
    world.offsets === 'sequence' ? `${slot}` : `${8 + (slot >> 2)}-${8 + (slot & 3)}`
  let names = 0
  const newClient = (): Client => ({ name: `c${names++}`, transaction: undefined, positions: slots.map(() => 0) })
  const clients = [newClient(), newClient(), newClient()]
  const group = slots.map(() => ({ owner: undefined as string | undefined, position: 0 }))
  let values = 0
  let transactions = 0

  const append = (partition: number, slot: Slot): string => {
    const log = slots[partition]!
    log.push(slot)
    return offsetOf(log.length - 1)
  }
  const find = (partition: number, value: string): number => slots[partition]!.findIndex((slot) => slot.value === value)

  /** What is visible from a position on: nothing beyond the first value of an open transaction. */
  const visibleFrom = (partition: number, from: number, count: number): { records: PolledRecord[]; next: number } => {
    const records: PolledRecord[] = []
    const log = slots[partition]!
    const open = log.findIndex(({ transaction }) => transaction?.state === 'open')
    let next = from
    for (; next < (open < 0 ? log.length : open) && records.length < count; next++) {
      const { value, transaction } = log[next]!
      if (value !== undefined && transaction?.state !== 'aborted')
        records.push({ partition: nameOf(partition), value, offset: offsetOf(next) })
    }
    return { records, next }
  }

  const decide = (transaction: Transaction, state: 'committed' | 'aborted'): void => {
    if (transaction.state !== 'open') return
    transaction.state = state
    if (state === 'committed')
      for (const { partition, value } of transaction.buffer) append(partition, { value, transaction })
    if (!buffered) {
      for (const [partition, log] of slots.entries()) {
        if (log.some((slot) => slot.transaction === transaction))
          append(partition, { value: undefined, transaction: undefined })
      }
    }
  }

  const send = (client: Client, partition: number, values: readonly string[], how: string): void => {
    const { transaction } = client
    const outcome = how.startsWith('ok') ? 'ok' : how === 'failed' ? 'failed' : 'unknown'
    const land = (): (string | undefined)[] =>
      values.map((value) => {
        const there = find(partition, value)
        if (dedupes && there >= 0) return offsetOf(there)
        if (!buffered || transaction === undefined) return append(partition, { value, transaction })
        transaction.buffer.push({ partition, value })
        return undefined
      })
    const lands = outcome === 'ok' || how === 'unknown, now'
    const offsets = lands ? land() : []
    if (how === 'unknown, late' && transaction === undefined) pending.push(land)
    const records = values.map((value, i) => {
      const offset = how === 'ok' ? offsets[i] : undefined
      sent.push({
        value,
        partition: nameOf(partition),
        process: client.name,
        operation: history.length,
        outcome,
        offset,
        transaction: transaction?.id,
      })
      return { partition: nameOf(partition), value, ...(offset === undefined ? {} : { offset }) }
    })
    history.push({ kind: 'send', process: client.name, outcome, ...tag(client), records })
  }
  const tag = ({ transaction }: Client): { transaction?: string } =>
    transaction === undefined ? {} : { transaction: transaction.id }

  const run = (step: Step): void => {
    if (step.do === 'settle') {
      const [settle] = pending.length === 0 ? [] : pending.splice(step.which % pending.length, 1)
      settle?.()
      return
    }
    if (step.do === 'rebalance') {
      const partition = step.partition % partitions
      const member = `g${step.member % 3}`
      // A member that is known to have crashed never comes back under its name.
      group[partition]!.owner = crashed.has(member) ? `g${names++}'` : member
      history.push({ kind: 'assign', process: group[partition]!.owner!, outcome: 'ok', partition: nameOf(partition) })
      return
    }
    if (step.do === 'group poll') {
      const owned = group[step.partition % partitions]!
      if (owned.owner === undefined) return
      if (step.crash) {
        history.push({ kind: 'poll', process: owned.owner, outcome: 'unknown', records: [] })
        crashed.add(owned.owner)
        for (const other of group) if (other.owner === owned.owner && other !== owned) other.owner = undefined
        owned.owner = undefined
        return
      }
      const { records, next } = visibleFrom(step.partition % partitions, owned.position, step.count)
      owned.position = next
      history.push({ kind: 'poll', process: owned.owner, outcome: 'ok', records })
      return
    }

    const client = clients[step.client % clients.length]!
    const { name: process } = client
    if (step.do === 'begin') {
      client.transaction ??= { id: `x${transactions++}`, state: 'open', buffer: [], saved: new Map() }
    } else if (step.do === 'send') {
      send(
        client,
        step.partition % partitions,
        Array.from({ length: step.count }, () => `v${values++}`),
        step.how,
      )
    } else if (step.do === 'retry') {
      const again = sent.filter(
        (one) => one.process === process && one.transaction === undefined && one.outcome !== 'failed',
      )
      if (!dedupes || client.transaction !== undefined || again.length === 0) return
      const { value, partition } = again[step.which % again.length]!
      retried.add(value)
      send(client, Number(partition.slice(2)), [value], 'ok')
    } else if (step.do === 'poll') {
      const records: PolledRecord[] = []
      for (let partition = 0; partition < partitions; partition++) {
        if ((step.partitions & (1 << partition)) === 0) continue
        const from = client.positions[partition]!
        if (client.transaction !== undefined && !client.transaction.saved.has(partition))
          client.transaction.saved.set(partition, from)
        const read = visibleFrom(partition, from, step.count)
        records.push(...read.records)
        client.positions[partition] = read.next
      }
      history.push({ kind: 'poll', process, outcome: 'ok', ...tag(client), records })
    } else if (step.do === 'bad poll') {
      if (step.outcome === 'unknown')
        for (let partition = 0; partition < partitions; partition++)
          client.positions[partition] = visibleFrom(partition, client.positions[partition]!, step.moved).next
      history.push({ kind: 'poll', process, outcome: step.outcome, ...tag(client), records: [] })
    } else if (step.do === 'seek') {
      const partition = step.partition % partitions
      const to = step.to % (slots[partition]!.length + 1)
      if (step.outcome === 'ok' || (step.outcome === 'unknown' && step.moves)) client.positions[partition] = to
      if (step.outcome !== 'failed') client.transaction?.saved.delete(partition)
      const after = to === 0 ? '' : offsetOf(to - 1)
      history.push({ kind: 'assign', process, outcome: step.outcome, partition: nameOf(partition), after })
    } else if (client.transaction !== undefined) {
      const { transaction } = client
      const { how } = step
      client.transaction = undefined
      if (how === 'crash') clients[clients.indexOf(client)] = newClient()
      else
        history.push({
          kind: how.startsWith('abort') ? 'abort' : 'commit',
          process,
          outcome: how.endsWith('unknown') ? 'unknown' : how.endsWith('failed') ? 'failed' : 'ok',
          transaction: transaction.id,
        })
      const maybe = how === 'commit unknown' || how === 'crash'
      const state = how === 'commit' || (maybe && step.commits) ? 'committed' : 'aborted'
      if (maybe && step.late) pending.push(() => decide(transaction, state))
      else decide(transaction, state)
      if (how !== 'commit' && step.rewinds)
        for (const [partition, position] of transaction.saved) client.positions[partition] = position
    }
  }

  const crashed = new Set<string>()
  for (const step of world.steps) run(step)
  if (world.drained) {
    for (const settle of pending.splice(0)) settle()
    for (const { transaction } of clients) if (transaction !== undefined) decide(transaction, 'aborted')
    for (let partition = 0; partition < partitions; partition++) {
      history.push({ kind: 'assign', process: 'drain', outcome: 'ok', partition: nameOf(partition), after: '' })
      for (let from = 0; from < slots[partition]!.length; ) {
        const { records, next } = visibleFrom(partition, from, world.batch)
        from = next
        history.push({ kind: 'poll', process: 'drain', outcome: 'ok', records })
      }
    }
  }
  const visible = new Map(
    slots.map((log, partition) => [nameOf(partition), visibleFrom(partition, 0, log.length).records]),
  )
  return {
    history,
    sent,
    retried,
    visible,
    offsetAfter: (n) => (world.offsets === 'sequence' ? `${1_000_000 + n}` : `1000000-${n}`),
  }
}
