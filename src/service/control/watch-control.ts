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
  /** A signal that aborts, with what is wanted then, as soon as `is` says so of it; watched until it is disposed of. */
  when(is: (wanted: Wanted) => boolean): Disposable & { readonly signal: AbortSignal }
  /** This process does what is wanted, from now on; undefined: another one has the route. It is noted in the record, now or later. */
  obeys(wanted: Wanted | undefined): void
}

/** Often enough that connections which are closed when they are not used stay open. */
const EVERY_MS = 400

/**
 * Reads what is wanted of a route about twice a second, until it is disposed of. While that fails, what was read last counts; where
 * this account may not read it, that is a note, and the route runs.
 */
export function watchControl(route: RouteConfig, context: OpenContext): WatchedControl {
  const ended = new AbortController()
  let open: OpenControl | undefined
  let record: ControlRecord | undefined
  let reading: Promise<Wanted> | undefined
  let isDenied = false
  let obeyed: Wanted | undefined
  let mayNote = true
  let noting: Promise<void> | undefined
  const watched = new Set<{ readonly is: (wanted: Wanted) => boolean; readonly changed: AbortController }>()

  const close = async (): Promise<void> => {
    const unused = open
    open = undefined
    await unused?.[Symbol.asyncDispose]()
  }
  async function readNow(): Promise<Wanted> {
    try {
      open ??= await openControl(route, context)
      record = await open.read({ signal: ended.signal })
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
    if (!mayNote || noting !== undefined || open === undefined) return
    if (record === undefined || record.wanted !== obeyed || record.obeyed !== undefined) return
    noting = open
      .obeyed(record.wanted, { by: processName })
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
      await noting
      ended.abort('ended')
      await polling
      await reading?.catch(() => {})
      await close()
    },
  }
}

function denied(place: string, error: unknown): string {
  return `pause, resume and stop have no effect on this process, since it may not read what is wanted of its route, beside ${place}: ${messageOf(error)}`
}

/** What is wanted by a record: without one, that the route runs. */
export function wantedOf(record: ControlRecord | undefined): Wanted {
  return record?.wanted ?? 'running'
}
