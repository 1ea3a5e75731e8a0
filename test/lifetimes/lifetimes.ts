import { afterAll, describe, expect, test } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import { type ServerName, startServer } from '../../src/testing/servers/index.ts'
import {
  type AdapterSubjects,
  type ServerFaults,
  type SubjectServer,
  serverFaults,
} from '../subjects/adapter-subjects.ts'
import { errorOf } from '../tools/reader.ts'
import { frozenPublishers, type PublisherSubject, publishers } from './publisher-lifetimes.ts'
import { frozenWriters, writers } from './sink-lifetimes.ts'
import { frozenOpens, questions, severed, streams } from './source-lifetimes.ts'
import { type Countable, type Lifetime, playLifetime, type StageOptions } from './stage.ts'
import { frozenStores, stores } from './store-lifetimes.ts'
import { frozenWorks, severedWorks, type WorkSubject, works } from './work-lifetimes.ts'

/** Whose lifetimes are played. */
export interface LifetimesOptions {
  readonly server: ServerName
  readonly subjectsOn: (server: SubjectServer) => Promise<AdapterSubjects>
  /** What the server at `url` keeps besides what the subjects count. */
  readonly kept?: (url: string) => Promise<readonly string[]>
  /** What is opened, or asked of, a log that is not there, and is refused. */
  readonly missing?: (url: string) => readonly (() => Promise<unknown> | undefined)[]
  /** What the client is known to leave of a connection that the server does not greet. */
  readonly ungreeted?: readonly string[]
  /** How long the server keeps what it was not told the end of. Default: no longer than anything else. */
  readonly severedMs?: number
  /** Makes logs to publish to, by a way to the server that can be cut. */
  readonly publishersOn?: (server: SubjectServer, way: ServerFaults) => Makers<PublisherSubject>
  /** Makes streams to work on, by such a way. */
  readonly worksOn?: (server: SubjectServer, way: ServerFaults) => Makers<WorkSubject>
  /** Which of the subjects' sinks are played; default: all. */
  readonly sinks?: (name: string) => boolean
}

type Makers<S> = Readonly<Record<string, () => Promise<S>>>

/** Everything that an adapter opens, closed in every state, on a server of the file's own: rule 6. */
export async function lifetimes(options: LifetimesOptions): Promise<void> {
  const { server: name, subjectsOn, kept, missing, ungreeted, severedMs, sinks = () => true } = options
  const server = await startServer(name, { from: ['native', 'docker'] })
  const subjects = await subjectsOn(server)
  const way = (await serverFaults(server)) as ServerFaults
  afterAll(async () => {
    await subjects[Symbol.asyncDispose]()
    await way[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })
  const { process } = server
  if (process === undefined) throw new Error(`expected a ${name} server that was started here`)
  const stage = { server: process, kept: kept && (() => kept(server.url)) }
  const all = <S extends Countable & { [Symbol.asyncDispose]?(): void | PromiseLike<void> }>(
    plays: Readonly<Record<string, Lifetime<never>>>,
    create: () => Promise<S>,
    options: Partial<StageOptions> = {},
  ): void => {
    for (const [title, play] of Object.entries(plays)) {
      test(title, async () => {
        const subject = await create()
        try {
          await playLifetime<S>(subject, play as Lifetime<S>, { ...stage, ...options })
        } finally {
          await subject[Symbol.asyncDispose]?.()
        }
      })
    }
  }

  for (const [each, create] of Object.entries(subjects.sources)) {
    describe(`nothing is left of ${each} after`, () => {
      all(streams, create)
      all(severed, create, { atServerMs: severedMs })
      all(questions, create)
      all(frozenOpens, create, { excepted: ungreeted })
    })
  }
  for (const [each, create] of Object.entries(subjects.sinks).filter(([sink]) => sinks(sink))) {
    describe(`nothing is left of ${each} after`, () => {
      all(writers, create)
      all(frozenWriters, create, { excepted: ungreeted })
    })
  }
  for (const [each, create] of Object.entries(subjects.stores)) {
    describe(`nothing is left of ${each} after`, () => {
      all(stores, create)
      all(frozenStores, create, { excepted: ungreeted })
    })
  }

  for (const [each, create] of Object.entries(options.publishersOn?.(server, way) ?? {})) {
    describe(`nothing is left of ${each} after`, () => {
      all(publishers, create)
      all(frozenPublishers, create, { excepted: ungreeted })
    })
  }
  for (const [each, create] of Object.entries(options.worksOn?.(server, way) ?? {})) {
    describe(`nothing is left of ${each} after`, () => {
      all(works, create)
      all(severedWorks, create, { atServerMs: 5000 })
      all(frozenWorks, create, { excepted: ungreeted })
    })
  }

  if (missing === undefined) return
  test('nothing is left of what was refused since there is no such log', async () => {
    const refused = missing(server.url)
    const play = async (): Promise<void> => {
      for (const open of refused) expect(codeOf(await errorOf(open() ?? Promise.resolve()))).toBeDefined()
    }
    await playLifetime({}, play, stage)
  })
}
