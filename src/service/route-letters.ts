import { parseCheckpoint } from '../bridge/checkpoint.ts'
import type { RouteLetter } from '../bridge/dead-letters.ts'
import { breather } from '../core/breather.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { codeOf, OptionError, ReflexError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { isMissing } from './check-route.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { Opened } from './config/scheme.ts'

/** The dead letters of a route, open. Disposing it ends its connections. */
export interface RouteLetters extends AsyncDisposable {
  /** In the order in which they were recorded. */
  list(status: 'open' | 'resolved', signal: AbortSignal): AsyncGenerator<RouteLetter>
  /** Closes one. Throws `LETTER_IN_USE` if the route has not gone past the event yet. */
  close(letter: RouteLetter): Promise<void>
  /**
   * Writes the events of open letters to the source anew, and closes them, each foreignId as a whole, in the order of the first letter of
   * each. With the signal it ends between two foreignIds. Throws `OPTION_INVALID` if the source and the letters are not in one database server.
   */
  retry(options: RetryLettersOptions): AsyncGenerator<RetriedLetter>
}

/** Options of `RouteLetters.retry`. */
export interface RetryLettersOptions {
  /** Of events; of each foreignId the oldest open one, and those that wait for it are retried as well. Default: all. */
  readonly ids?: ReadonlySet<string> | undefined
  /** Is told first how many letters are open. */
  readonly onOpen?: ((count: number) => void) | undefined
  readonly signal: AbortSignal
}

/** What became of a letter: its event has the id `newId` in the source as well, or `error` says why not. */
export type RetriedLetter = { readonly eventId: string; readonly foreignId?: string } & (
  | { readonly newId: string; readonly error?: undefined }
  | { readonly error: unknown; readonly newId?: undefined }
)

const PAGE = 100
/** What is the matter with letters of one foreignId, and not with those of others. */
const OF_ONE: ReadonlySet<unknown> = new Set(['EVENT_HELD_BACK', 'EVENT_UNENCODABLE', 'LETTER_IN_USE'])

/** Options of `routeLetters`. */
export interface RouteLettersOptions {
  /** None of them will be closed. */
  readonly readOnly: boolean
  /** Where their table or its file is still to be created, there is no letter. Default: false, that is an error. */
  readonly createTables?: boolean | undefined
}

/** Opens the dead letters of a route. Throws `OPTION_INVALID` if it has none. */
export async function routeLetters(
  { name, source, checkpoints, deadLetters }: RouteConfig,
  { readOnly, createTables = false }: RouteLettersOptions,
): Promise<RouteLetters> {
  if (deadLetters === undefined)
    throw new OptionError(`the route ${name} has no dead letters: it stops at an event that cannot be sent`)
  const noneIfMissing = (error: unknown): [] => {
    if (createTables && isMissing(error)) return []
    throw error
  }
  // The letters may be elsewhere, and be there: then they are shown.
  const unlessMissing = (error: unknown): undefined => void noneIfMissing(error)
  const opened = disposeStack()
  const use = async <T>(opening: Promise<Opened<T>>): Promise<T> => opened.use(await opening).part
  try {
    const found = await deadLetters.open({ createTables: false, readOnly }).catch(noneIfMissing)
    if (Array.isArray(found)) return noLetters
    const { part: letters, rewriter } = opened.use(found)
    const log = await use(source.open({ createTables: false, readOnly: true })).catch(unlessMissing)
    const store = await use(checkpoints.open({ createTables: false, readOnly: true })).catch(unlessMissing)
    const passed = async (): Promise<string> =>
      store === undefined ? '' : (parseCheckpoint(name, await store.get(name))?.cursor ?? '')
    const breathe = breather()
    async function* list(status: 'open' | 'resolved', signal: AbortSignal): AsyncGenerator<RouteLetter> {
      for (let after: string | undefined; ; ) {
        await breathe()
        const page = await letters.list({ consumer: name, status, after, limit: PAGE, signal }).catch(noneIfMissing)
        yield* page
        if (page.length < PAGE) return
        after = page.at(-1)?.id
      }
    }
    return {
      list,
      close: async ({ id, eventId }) => {
        // Until then the bridge would meet the event again, and make of it what it makes of any other.
        const cursor = await passed()
        if (cursor === '' || (log?.compare?.(eventId, cursor) ?? 1) > 0) {
          throw new ReflexError(
            'LETTER_IN_USE',
            `route ${name}: the letter of event ${eventId} is not closed, since the checkpoint of the route, ${JSON.stringify(cursor)}, has not passed it yet: run the route, then try again`,
          )
        }
        await letters.resolve(id)
      },
      async *retry({ ids: chosen, onOpen, signal }) {
        const rewrite = rewriter?.(source)
        if (rewrite === undefined) {
          throw new OptionError(
            `route ${name}: a letter is retried by writing its event to the source anew, in one transaction with the letter: expected a table of MySQL or MariaDB as the source and dead letters at the same host and port, or both in one file of SQLite, found the source ${source.name} and the dead letters ${deadLetters.name}: write the event to the source as the application does, then drop the letter`,
          )
        }
        const byKey = new Map<string, string[]>()
        const empty: string[] = []
        for await (const { eventId, event } of list('open', signal)) {
          const known = event === undefined ? empty : byKey.get(event.foreignId)
          if (known === undefined) byKey.set((event as Event).foreignId, [eventId])
          else known.push(eventId)
        }
        onOpen?.([...byKey.values()].reduce((sum, { length }) => sum + length, empty.length))
        for (const eventId of empty)
          if (chosen?.has(eventId) ?? true) yield { eventId, error: withoutEvent(name, eventId) }
        for (const [foreignId, eventIds] of byKey) {
          const wanted = chosen === undefined ? eventIds : eventIds.filter((each) => chosen.has(each))
          if (wanted.length === 0) continue
          await breathe()
          signal.throwIfAborted()
          try {
            const done = await rewrite({ consumer: name, foreignId, passed: await passed(), chosen })
            for (const each of done) yield { ...each, foreignId }
          } catch (error) {
            if (!OF_ONE.has(codeOf(error))) throw error
            for (const eventId of wanted) yield { eventId, foreignId, error }
          }
        }
      },
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

const noLetters: RouteLetters = {
  async *list() {},
  close: async () => {},
  async *retry() {},
  [Symbol.asyncDispose]: async () => {},
}

function withoutEvent(name: string, eventId: string): ReflexError {
  return new ReflexError(
    'LETTER_EMPTY',
    `route ${name}: the letter of event ${eventId} is not retried: whoever recorded it kept no more than the id: write the event to the source as the application does, then drop the letter`,
    { retriable: false },
  )
}
