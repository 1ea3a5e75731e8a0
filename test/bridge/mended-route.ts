import { expect } from 'vitest'
import { type BridgeSpec, bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import type { DeadLetters } from '../../src/bridge/dead-letters.ts'
import {
  type ErrorKind,
  errorKind,
  memoryCursors,
  memoryLog,
  type NewEvent,
  type Sink,
  supervise,
} from '../../src/core/index.ts'
import { within } from '../tools/reader.ts'
import { memoryDeadLetters } from './memory-dead-letters.ts'

/** What goes wrong at a destination, and how it is mended. */
export interface Fault {
  readonly sink: Sink
  readonly kind: ErrorKind
  stage(): unknown
  /** Also what the operator of the destination would do. */
  mend(): unknown
  /** The events that meet it; default: five small events. */
  readonly meets?: readonly NewEvent[]
  readonly deadLetters?: DeadLetters
}

const small = (count: number): NewEvent[] =>
  Array.from({ length: count }, (_, i) => ({ type: 1, foreignId: `e${i}`, timestamp: 1_767_225_600_000 }))

/**
 * Forwards five events, stages the fault, and lets a supervised bridge meet it twice at least with what follows; then the fault is
 * mended, and the same bridge goes on by itself. Until then the checkpoint has not moved, and nothing is put aside, ever. Resolves with the codes that it met.
 */
export async function throughFault({ sink, kind, stage, mend, meets = small(5), ...more }: Fault): Promise<string[]> {
  const log = memoryLog()
  const letters = memoryDeadLetters()
  const checkpoints = memoryCursors()
  const { deadLetters = letters } = more
  const spec: BridgeSpec = { name: 'r', source: log.source, sink, checkpoints, deadLetters }
  const cursor = async (): Promise<string | undefined> => parseCheckpoint('r', await checkpoints.get('r'))?.cursor
  log.append(...small(5))
  await bridge(spec, { toHead: true })
  await stage()
  log.append(...meets)
  const codes = new Set<string>()
  const kinds: ErrorKind[] = []
  const met = Promise.withResolvers<void>()
  const running = supervise((o) => bridge(spec, { ...o, toHead: true }), {
    ...{ minDelayMs: 20, maxDelayMs: 200 },
    observer: {
      restarting: ({ error }) => {
        codes.add((error as { code: string }).code)
        kinds.push(errorKind(error))
        if (kinds.filter((each) => each === kind).length === 2) met.resolve()
      },
    },
  })
  await within(Promise.race([met.promise, running]), 20_000, 'the fault')
  expect([kinds.at(-1), await cursor()]).toEqual([kind, '5@1'])
  await mend()
  await within(running, 20_000, 'the end, after the fault was mended')
  expect([await cursor(), letters.letters]).toEqual([`${5 + meets.length}@1`, []])
  return [...codes]
}
