import { getEventListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import type { ServerProcess } from '../../src/testing/servers/index.ts'
import { within } from '../tools/reader.ts'
import { type ResourceScope, resourceScope } from '../tools/resource-scope.ts'

/** What a lifetime is played with. */
export interface Stage<S> {
  readonly subject: S
  readonly server: ServerProcess
  /** A caller's signal; each is looked at in the end for listeners that were left on it. */
  caller(): AbortController
  /** What the test itself does to the server, which does not count. */
  outside<T>(work: () => T): T
  /** Closes, within the time of rule 6. */
  close(...opened: AsyncDisposable[]): Promise<void>
  /** Throws unless nothing is left in this process soon; what the server has is looked at when the play is over. */
  isQuiet(): Promise<void>
}

/** One state in which something is closed, ended, aborted or has failed; resolves when it is. */
export type Lifetime<S> = (stage: Stage<S>) => Promise<void>

/** A subject that knows what the server has of it. */
export interface Countable {
  connections?(): Promise<number>
}

/** How lifetimes are played. */
export interface StageOptions {
  readonly server: ServerProcess
  /** What the server keeps besides connections, by name. Default: it is not looked at. */
  readonly kept?: (() => Promise<readonly string[]>) | undefined
  /** What is known to be left, as the start of the line that tells it. Default: nothing. */
  readonly excepted?: readonly string[] | undefined
  /** How long the server may take to notice. Default: as long as this process. */
  readonly atServerMs?: number | undefined
}

/** Rule 6 says 1 s; the other one is for a machine that is busy with other tests. */
const WITHIN_MS = 2000

/** Plays a lifetime; throws unless nothing is left after it: in this process, on the caller's signals, and on the server. */
export async function playLifetime<S extends Countable>(
  subject: S,
  play: Lifetime<S>,
  { server, kept = async () => [], excepted = [], atServerMs = WITHIN_MS }: StageOptions,
): Promise<void> {
  const unexpected = (lines: readonly string[]): string[] =>
    lines.filter((line) => !excepted.some((each) => line.startsWith(each)))
  using scope = resourceScope()
  const callers: AbortController[] = []
  const atServer = async (): Promise<string[]> => [
    ...Array<string>((await subject.connections?.()) ?? 0).fill('a connection or consumer on the server'),
    ...(await kept()),
  ]
  const before = (await atServer()).length
  const stage: Stage<S> = {
    subject,
    server,
    outside: scope.outside,
    caller: () => {
      const caller = new AbortController()
      callers.push(caller)
      return caller
    },
    close: async (...opened) => {
      await within(Promise.all(opened.map((each) => each[Symbol.asyncDispose]())), WITHIN_MS, 'the close')
    },
    isQuiet: () => scope.outside(() => nothing(async () => unexpected(leftIn(scope, callers)), WITHIN_MS)),
  }
  await scope.run(() => play(stage))
  await stage.isQuiet()
  await nothing(async () => unexpected((await atServer()).slice(before)), atServerMs)
}

/** What ran in a scope and its callers' signals have left, a line each. */
function leftIn(scope: ResourceScope, callers: readonly AbortController[]): string[] {
  const listening = callers.reduce((sum, { signal }) => sum + getEventListeners(signal, 'abort').length, 0)
  return [...scope.open(), ...Array<string>(listening).fill("a listener on the caller's signal")]
}

/** Resolves once nothing is left; throws with what still is when that takes too long. */
async function nothing(left: () => Promise<readonly string[]>, withinMs: number): Promise<void> {
  for (const deadline = Date.now() + withinMs; ; await pause(10)) {
    const lines = await left()
    if (lines.length === 0) return
    if (Date.now() > deadline) throw new Error(`left after ${withinMs} ms (rule 6):\n${lines.join('\n')}`)
  }
}
