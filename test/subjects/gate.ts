import { afterAll, beforeAll, test } from 'vitest'
import { disposeStack } from '../../src/core/dispose-stack.ts'
import type { ConformanceOptions, PropertyResult } from '../../src/testing/conformance/index.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import { type ServerName, startServer } from '../../src/testing/servers/index.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import type { AdapterSubjects, SubjectServer } from './adapter-subjects.ts'

/** How the tests of an adapter go about it. */
export interface Gate {
  /** Of `conformance`, but for what is under test. */
  readonly options: Pick<ConformanceOptions, 'test' | 'runs' | 'seed' | 'timeLimitMs' | 'onResult'>
  /** A server was killed, and started again, so often. */
  killed(rounds: number): void
}

/** Makes it, and tells at the end what was played. The seed is 1, or REFLEX_BRIDGE_SEED: the gate does not depend on luck. */
export function gate(adapter: string, subjects: AsyncDisposable, runs: number): Gate {
  let schedules = 0
  let kills = 0
  afterAll(async () => {
    await subjects[Symbol.asyncDispose]()
    console.log(`${adapter}: ${schedules} schedules, ${kills} kill rounds`)
  })
  const onResult = (result: PropertyResult): void => {
    schedules += result.schedules
  }
  const seed = Number(process.env['REFLEX_BRIDGE_SEED'] ?? 1)
  const killed = (rounds: number): void => {
    kills += rounds
  }
  return { options: { test, runs, seed, timeLimitMs: 20_000, onResult }, killed }
}

/** What is played on a server that nobody else uses: properties whose faults, or whose counts of connections, need one. */
export const onOwnServer: { readonly [K in 'source' | 'sink' | 'cursors']: Pick<ConformanceOptions, 'only' | 'runs'> } =
  {
    source: { only: ['Y1', 'Y3', 'Y4', 'Y5'], runs: 1 },
    sink: { only: ['Y3', 'Y6', 'Y7', 'Y8', 'Y9'], runs: 2 },
    cursors: { only: ['C12', 'C13', 'C14'], runs: 2 },
  }

/** Subjects on a server that a test file has to itself, by their names. */
export interface OwnSubjects {
  source(name: string): () => Promise<SourceSubject>
  sink(name: string): () => Promise<SinkSubject>
  store(name: string): () => Promise<CursorStoreSubject>
}

/** Makes them, on a server that runs from the first test of the file to the last. */
export function ownSubjects(
  server: ServerName,
  subjectsOn: (server: SubjectServer) => Promise<AdapterSubjects>,
): OwnSubjects {
  let subjects: AdapterSubjects | undefined
  const ended = disposeStack()
  beforeAll(async () => {
    const own = await startServer(server, { from: ['native', 'docker'] })
    ended.use(own)
    subjects = await subjectsOn(own)
    ended.use(subjects)
  }, 120_000)
  afterAll(() => ended[Symbol.asyncDispose]())
  const made = <T>(create: (() => Promise<T>) | undefined): Promise<T> => {
    if (create === undefined) throw new Error(`there is no such subject on the ${server} server of the file's own`)
    return create()
  }
  return {
    source: (name) => () => made(subjects?.sources[name]),
    sink: (name) => () => made(subjects?.sinks[name]),
    store: (name) => () => made(subjects?.stores[name]),
  }
}
