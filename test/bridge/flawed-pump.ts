import { formatCheckpoint, parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { disposeStack, savedCursor } from '../../src/core/index.ts'
import type { Pump } from './simulated-route.ts'

/** What is easily done wrong when a log is forwarded. */
export const flaws = [
  'saves before it appends',
  'resumes from its own checkpoint, whatever the destination says',
  'goes on after an append that failed',
  'goes on after a save that failed',
  'starts from the head again when the destination has lost everything',
  'saves the position of the last event instead of that of the batch',
  'does not save where there was no event',
  'leaves the checkpoint behind until the next event',
  'gives up between append and save when it is aborted',
  'leaves the writer open when the source cannot be opened',
] as const
export type Flaw = (typeof flaws)[number]

/** A pump in its shortest form, with a flaw, or with none. */
export function flawedPump(flaw: Flaw | undefined): Pump {
  return async ({ name, source, sink, checkpoints }, { toHead = false, fromHead = false, signal, observer }) => {
    const opened = disposeStack()
    const is = (each: Flaw): boolean => flaw === each
    let cursor = ''
    try {
      let stored = await checkpoints.get(name)
      const saved = parseCheckpoint(name, stored)
      const writer = await sink.open({ route: name, source: source.name, saved, signal })
      if (!is('leaves the writer open when the source cannot be opened')) opened.use(writer)
      let start = saved?.start ?? ''
      cursor = writer.resumeFrom === '' ? start : writer.resumeFrom
      if (is('resumes from its own checkpoint, whatever the destination says')) cursor = saved?.cursor ?? ''
      if (writer.repair !== undefined) observer?.repaired?.(writer.repair)
      if (is('starts from the head again when the destination has lost everything')) cursor = writer.resumeFrom
      const isNew = saved === undefined && writer.repair === undefined
      const atHead =
        fromHead &&
        cursor === '' &&
        (isNew || is('starts from the head again when the destination has lost everything'))
      const stream = opened.use(await source.stream(cursor, { signal, toHead, fromHead: atHead }))

      const save = async (mark: string): Promise<void> => {
        if (atHead && start === '') start = cursor
        const checkpoint = formatCheckpoint({ cursor, mark, start })
        await checkpoints.set(name, checkpoint, stored)
        stored = checkpoint
      }
      if (cursor !== (saved?.cursor ?? '') && !is('leaves the checkpoint behind until the next event'))
        await save(await writer.append([], cursor))
      for await (const batch of stream) {
        const last = batch.events.at(-1)?.id
        const position = is('saves the position of the last event instead of that of the batch') ? last : undefined
        const next = savedCursor(position ?? batch.cursor, stream.incarnation)
        if (next === cursor && batch.events.length === 0) continue
        cursor = next
        if (is('saves before it appends')) await save('0/')
        const appending = writer.append(batch.events, next)
        const mark = await (is('goes on after an append that failed') ? appending.catch(() => '0/') : appending)
        if (is('gives up between append and save when it is aborted')) signal?.throwIfAborted()
        if (is('saves before it appends')) continue
        if (is('does not save where there was no event') && batch.events.length === 0) continue
        const saving = save(mark)
        await (is('goes on after a save that failed') ? saving.catch(() => {}) : saving)
        signal?.throwIfAborted()
      }
      return { reason: 'head', cursor }
    } catch (error) {
      if (signal?.aborted) return { reason: 'aborted', cursor, ...(error === signal.reason ? {} : { error }) }
      throw error
    } finally {
      await opened[Symbol.asyncDispose]()
    }
  }
}
