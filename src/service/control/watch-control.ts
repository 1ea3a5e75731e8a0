import { systemClock } from '../../core/clock.ts'
import { errorKind, messageOf } from '../../core/errors.ts'
import type { RouteConfig } from '../config/parse-config.ts'
import type { OpenContext } from '../config/scheme.ts'
import type { ControlRecord, Wanted } from './control-record.ts'
import { type OpenControl, openControl } from './open-control.ts'
import { processName } from './process-name.ts'

/** What is wanted of a route, as it changes. */
export interface WatchedControl extends AsyncDisposable {
  /** What is wanted now. Rejects as the store does. */
  read(): Promise<Wanted>
  /** What was read last, and by whom it is wanted. */
  readonly record: ControlRecord | undefined
  /** The store that it reads from; open until this is disposed of, also when the watch has to open it anew. */
  borrow(): Promise<AsyncDisposable & { readonly store: OpenControl }>
  /** A signal that aborts, with what is wanted then, as soon as `is` says so of it; watched until it is disposed of. */
  when(is: (wanted: Wanted) => boolean): Disposable & { readonly signal: AbortSignal }
  /**
   * This process does what is wanted, from now on; undefined: another one has the route. It is noted in the record, now or later, and
   * whoever asks is answered.
   */
  obeys(wanted: Wanted | undefined): void
}

/** A store, and how many use it: the last one closes it. */
interface Lent {
  readonly store: OpenControl
  users: number
}

/** Often enough that connections which are closed when they are not used stay open. */
const EVERY_MS = 400
/** The end of the watch waits no longer for what is being noted, and as long for the rest. */
const LATE_AFTER_MS = 1000

/**
 * Reads what is wanted of a route about twice a second, until it is disposed of. While that fails, what was read last counts; where
 * this account may not read it, that is a note, and the route runs.
 */
export function watchControl(route: RouteConfig, context: OpenContext): WatchedControl {
  const ended = new AbortController()
  let opening: Promise<Lent> | undefined
  let record: ControlRecord | undefined
  let reading: Promise<Wanted> | undefined
  let isDenied = false
  let obeyed: Wanted | undefined
  let mayNote = true
  let noting: Promise<void> | undefined
  const watched = new Set<{ readonly is: (wanted: Wanted) => boolean; readonly changed: AbortController }>()

  const give = async (lent: Lent): Promise<void> => {
    if (--lent.users === 0) await lent.store[Symbol.asyncDispose]()
  }
  const open = (): Promise<Lent> => {
    opening ??= openControl(route, context).then(
      (store) => ({ store, users: 1 }),
      (error: unknown) => {
        opening = undefined
        throw error
      },
    )
    return opening
  }
  const close = async (): Promise<void> => {
    const unused = opening
    opening = undefined
    if (unused !== undefined) await give(await unused)
  }
  async function readNow(): Promise<Wanted> {
    try {
      const { store } = await open()
      record = await store.read({ signal: ended.signal })
    } catch (error) {
      if (errorKind(error) !== 'auth') {
        await close().catch(() => {}) // what failed is told; the next one is opened anew
        throw error
      }
      // Where the login itself is refused the route fails as well, and tells it.
      if (!isDenied) context.note?.(denied(route.control.name, error))
      isDenied = true
    }
    tell()
    note()
    return wantedOf(record)
  }
  function note(): void {
    if (!mayNote || noting !== undefined || opening === undefined || record === undefined) return
    const { wanted, ask } = record
    const obeys = wanted === obeyed
    const isNews = obeys && record.obeyed === undefined
    const isAsked = ask !== undefined && ask.answers.find(({ by }) => by === processName)?.obeys !== obeys
    if (!isNews && !isAsked) return
    const by = processName
    noting = opening
      .then(({ store }) => (isAsked ? store.answer(ask.id, { by, obeys }) : store.obeyed(wanted, { by })))
      .catch((error: unknown) => {
        mayNote = errorKind(error) !== 'auth' // else it is tried again when the record is read again
      })
      .finally(() => {
        noting = undefined
      })
  }
  function tell(): void {
    const now = wantedOf(record)
    for (const { is, changed } of watched) if (is(now)) changed.abort(now)
  }
  const read = (): Promise<Wanted> => {
    reading ??= readNow().finally(() => {
      reading = undefined
    })
    return reading
  }
  async function poll(): Promise<void> {
    for (;;) {
      await systemClock.sleep(EVERY_MS, ended.signal)
      if (watched.size > 0) await read().catch(() => {}) // the route meets the same failure, and tells it
    }
  }

  const polling = poll().catch(() => {}) // ends when this is disposed of
  return {
    read,
    get record() {
      return record
    },
    borrow: async () => {
      const lent = await open()
      lent.users++
      return { store: lent.store, [Symbol.asyncDispose]: () => give(lent) }
    },
    when: (is) => {
      const each = { is, changed: new AbortController() }
      watched.add(each)
      tell()
      return { signal: each.changed.signal, [Symbol.dispose]: () => void watched.delete(each) }
    },
    obeys: (wanted) => {
      obeyed = wanted
      note()
    },
    [Symbol.asyncDispose]: async () => {
      await untilLate(noting)
      ended.abort('ended')
      const closing = polling.then(() => reading?.catch(() => {})).then(close)
      await untilLate(closing)
    },
  }
}

/** A store that does not answer is closed when it does. */
async function untilLate(work: Promise<void> | undefined): Promise<void> {
  const waited = new AbortController()
  try {
    await Promise.race([work, systemClock.sleep(LATE_AFTER_MS, waited.signal)])
  } finally {
    waited.abort('waited')
  }
}

function denied(place: string, error: unknown): string {
  return `pause, resume and stop have no effect on this process, since it may not read what is wanted of its route, beside ${place}: ${messageOf(error)}`
}

/** What is wanted by a record: without one, that the route runs. */
export function wantedOf(record: ControlRecord | undefined): Wanted {
  return record?.wanted ?? 'running'
}
