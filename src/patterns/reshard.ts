import type { CursorStore } from '../core/cursor.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Source } from '../core/stream.ts'
import { checkLimit } from './check-limit.ts'
import { shardName } from './parallel.ts'

/** Options of `reshard`. */
export interface ReshardOptions {
  /** The name of the consumer without the number of a shard. */
  readonly name: string
  /** How many shards there were; 0: a consumer of that very name, which was not sharded. */
  readonly from: number
  /** How many there will be; 0: a consumer of that very name, which is not sharded any more. */
  readonly to: number
  /** Whether cursors that the new ones have already, of an earlier time, may be replaced. Default: false, they are refused. */
  readonly replace?: boolean | undefined
}

/** What `reshard` did. */
export interface Resharded {
  /** Where every new one starts: the least of the old cursors. */
  readonly cursor: Cursor
  /** The greatest of the old cursors: what is between the two was handled by some of the old shards, and is handled again. */
  readonly upTo: Cursor
}

/**
 * Gives the shards of a new number, or one consumer instead of all, the position from which nothing is lost: the least cursor of the old ones. What the other old
 * shards had handled beyond it is handled again, once. The old runners have to be stopped before, and the new ones started after;
 * their keys fall to other shards, so nothing is to run at the same time. Safe to repeat, but with `replace` only
 * until the new ones run: it would take them back. The old cursors stay: remove them from the
 * store when nobody goes back.
 *
 * Throws an `OptionError` if an old shard has no cursor, if a new one has another cursor already and `replace` is not set, and if the
 * source cannot compare cursors; rejects as the store does. Nothing is written unless all of that is fine.
 *
 * @example await reshard(cursors, source, { name: 'mailer', from: 4, to: 6 })
 */
export async function reshard(
  cursors: CursorStore,
  source: Pick<Source, 'name' | 'compare'>,
  { name, from, to, replace = false }: ReshardOptions,
): Promise<Resharded> {
  const what = `reshard of ${JSON.stringify(name)}`
  if (from !== 0) checkLimit(what, 'from', from)
  if (to !== 0) checkLimit(what, 'to', to)
  if (from === to) throw new OptionError(`${what}: there are ${from} shards already`)
  const { compare } = source
  if (compare === undefined)
    throw new OptionError(`${what}: the source ${source.name} cannot compare cursors, so the least is not known`)

  const namesOf = (shards: number): string[] =>
    shards === 0 ? [name] : Array.from({ length: shards }, (_, i) => shardName(name, { number: i + 1, shards }))
  const old = await all(namesOf(from), (each) => cursors.get(each))
  const without = [...old].filter(([, cursor]) => cursor === '').map(([each]) => each)
  if (without.length > 0)
    throw new OptionError(
      `${what}: ${without.join(', ')} ${without.length === 1 ? 'has' : 'have'} no cursor, so all of the log would be handled again. ` +
        'Run every old shard once, or start the new ones without resharding.',
    )
  const [cursor, upTo] = [...old.values()]
    .toSorted((a, b) => compare.call(source, a, b))
    .filter((_, i, sorted) => i === 0 || i === sorted.length - 1)
  const least = cursor as Cursor
  const found = await all(namesOf(to), (each) => cursors.get(each))
  const taken = [...found].filter(([, each]) => each !== '' && each !== least).map(([each, at]) => `${each} at ${at}`)
  if (taken.length > 0 && !replace)
    throw new OptionError(
      `${what}: expected no cursors of the new ${to === 0 ? 'consumer' : 'shards'}, but found ${taken.join(', ')}. ` +
        'If that is of an earlier time, and nothing runs under this name, say so by replace: true.',
    )
  await all(found.keys(), (each) => cursors.set(each, least, found.get(each) ?? ''))
  return { cursor: least, upTo: upTo ?? least }
}

async function all<T>(names: Iterable<string>, ask: (name: string) => Promise<T>): Promise<Map<string, T>> {
  return new Map(await Promise.all([...names].map(async (name) => [name, await ask(name)] as const)))
}
