import type { CursorStore } from '../../core/cursor.ts'
import { codeOf } from '../../core/errors.ts'
import type { RouteConfig } from '../config/parse-config.ts'
import type { ControlStore, OpenContext } from '../config/scheme.ts'
import { type Ask, type ControlRecord, formatControl, parseControl, type Wanted } from './control-record.ts'

/** What is wanted of one route, open. Disposing it ends its connections. */
export interface OpenControl extends AsyncDisposable {
  /** Undefined if nobody has wanted anything yet. Throws `CONTROL_INVALID`. */
  read(options?: { readonly signal?: AbortSignal | undefined }): Promise<ControlRecord | undefined>
  /**
   * Stores what is wanted, and creates the table where it is kept, unless that is wanted already. Resolves with what is stored
   * then: undefined where it is to run, and nobody has ever wanted anything else.
   */
  want(wanted: Wanted, options: { readonly by: string }): Promise<ControlRecord | undefined>
  /** Notes that the process `by` has obeyed, if the same is still wanted and nobody has noted it. */
  obeyed(wanted: Wanted, options: { readonly by: string }): Promise<void>
  /** Asks every process that runs the route whether it has obeyed, if `wanted` is wanted; read their answers in the record. */
  ask(id: string, wanted: Wanted): Promise<void>
  /** Answers that question, if nobody has asked anew. */
  answer(id: string, answer: Ask['answers'][number]): Promise<void>
  readonly leases: ControlStore['leases']
  /** Names the lease of the route. */
  readonly leaseName: string
}

/** Whoever else writes at the same time has to be met so often in a row. */
const ATTEMPTS = 10

/** Opens what is wanted of a route. */
export async function openControl(
  { name, control }: Pick<RouteConfig, 'name' | 'control'>,
  context: OpenContext,
): Promise<OpenControl> {
  const opened = await control.open(context)
  const { controls, leases, prefix } = opened.part
  const key = `${prefix}${name}`

  const read = async (signal?: AbortSignal): Promise<string> => {
    try {
      return await controls.get(key, { signal })
    } catch (error) {
      if (isMissing(error)) return ''
      throw error
    }
  }
  /** Stores what `next` makes of what is stored; undefined changes nothing. */
  const change = async (next: (stored: string) => ControlRecord | undefined): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      const stored = await read()
      const record = next(stored)
      if (record === undefined) return
      try {
        return await controls.set(key, formatControl(record), stored)
      } catch (error) {
        if (isMissing(error) && opened.createTables !== undefined && attempt === 1) await opened.createTables()
        else if (codeOf(error) !== 'CURSOR_CONFLICT' || attempt === ATTEMPTS) throw error
      }
    }
  }

  return {
    leases,
    leaseName: key,
    read: async ({ signal } = {}) => parseControl(name, await read(signal)),
    want: async (wanted, { by }) => {
      const at = new Date().toISOString()
      let record: ControlRecord | undefined
      await change((stored) => {
        const now = readable(name, stored)
        const isNew = stored === '' ? wanted !== 'running' : now?.wanted !== wanted
        record = isNew ? { wanted, by: by.slice(0, 255), at } : now
        return isNew ? record : undefined
      })
      return record
    },
    obeyed: (wanted, { by }) =>
      change((stored) => {
        const now = readable(name, stored)
        if (now?.wanted !== wanted || now.obeyed !== undefined) return undefined
        return { ...now, obeyed: { by, at: new Date().toISOString() } }
      }),
    ask: (id, wanted) =>
      change((stored) => {
        const now = readable(name, stored)
        return now?.wanted === wanted ? { ...now, ask: { id, answers: [] } } : undefined
      }),
    answer: (id, answer) =>
      change((stored) => {
        const now = readable(name, stored)
        if (now?.ask?.id !== id) return undefined
        const others = now.ask.answers.filter(({ by }) => by !== answer.by)
        return { ...now, ask: { id, answers: [...others, answer] } }
      }),
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

/** What cannot be read is overwritten. */
function readable(name: string, stored: Awaited<ReturnType<CursorStore['get']>>): ControlRecord | undefined {
  try {
    return parseControl(name, stored)
  } catch {
    return undefined
  }
}

/** Whether what holds the records has not been created yet: nobody has wanted anything. */
function isMissing(error: unknown): boolean {
  return ['TABLE_MISSING', 'JETSTREAM_10059'].includes(codeOf(error) ?? '')
}
