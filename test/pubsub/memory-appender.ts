import type { Appender, AppendOptions, AppendWish } from '../../src/core/appender.ts'
import type { Event } from '../../src/core/event.ts'
import type { MemoryLog } from '../../src/core/memory-log.ts'
import { wireNames } from '../../src/core/wire.ts'

/** What an appender was asked. */
export interface Asked {
  readonly event: Event
  readonly options: AppendOptions
}

/** Appends to a log in memory, as adapters do: source and source id are headers. `fails` may throw before, or after, it is appended. */
export function memoryAppender(
  log: MemoryLog,
  {
    honours = [],
    before = () => {},
    after = () => {},
  }: { honours?: readonly AppendWish[]; before?: (attempt: number) => void; after?: (attempt: number) => void } = {},
): Appender & { readonly asked: Asked[] } {
  const asked: Asked[] = []
  const keys = new Map<string, string>()
  return {
    name: log.source.name,
    honours,
    asked,
    append: async (event, options) => {
      asked.push({ event, options })
      before(asked.length)
      const there = options.idempotencyKey === undefined ? undefined : keys.get(options.idempotencyKey)
      if (there !== undefined) return { id: there, duplicate: true }
      const headers = { [wireNames.source]: options.source, [wireNames.sourceId]: event.id, ...event.headers }
      const [{ id } = { id: '' }] = log.append({ ...event, headers })
      if (options.idempotencyKey !== undefined) keys.set(options.idempotencyKey, id)
      after(asked.length)
      return { id, duplicate: false }
    },
  }
}
