import { untilAborted } from '../../src/core/abort.ts'
import { savedCursor } from '../../src/core/cursor.ts'
import {
  type Cursor,
  codeOf,
  type Event,
  type EventStream,
  OptionError,
  RunError,
  type RunResult,
  type RunStage,
  type run,
  StreamEndedError,
  systemClock,
} from '../../src/core/index.ts'

/** A run loop in its shortest form, with what is done wrong in it, or with nothing. */
export function miniRun<F extends string>(flaw?: F): typeof run {
  const is = (each: RunFlaw): boolean => (flaw as string | undefined) === each
  return async ({ stream, cursors, consumer }, options = {}): Promise<RunResult> => {
    const { toHead = false, fromHead = false, delayMs = 0, signal, clock = systemClock, observer } = options
    const ending = new AbortController()
    const context = { signal: is('the handler is not told of an abort') ? new AbortController().signal : ending.signal }
    let stage: RunStage = 'start'
    let eventId: string | undefined
    let failure: RunError | undefined
    let late: unknown
    let aborted = false
    let saved: Cursor = ''
    let position: Cursor | undefined
    let opened: EventStream | undefined
    let unknown: Cursor | undefined
    let conflict = false
    let given: string | undefined // to the handler
    let covered: string | undefined // the same, when nothing was outstanding
    let savedAt = clock.now()
    let yieldedAt = savedAt
    let batches = 0
    let before: Event | undefined // in the batch before

    const note = (cause: unknown, at: RunStage = stage): void => {
      if (!aborted && failure === undefined) failure = new RunError(at, { consumer: consumer.name, eventId, cause })
      else if (aborted && cause !== ending.signal.reason) late ??= cause
    }
    const onAbort = (): void => {
      if (ending.signal.aborted) return
      aborted = !is('an abort is a failure')
      ending.abort(signal?.reason)
    }
    const fail = (error: unknown): void => {
      eventId = undefined
      note(error, 'handle')
      if (!is('a failure in the background is only told at the end')) ending.abort(error)
    }
    const check = (): void => {
      const { types, name } = consumer
      if (is('takes every option as it is')) return
      if (!(delayMs >= 0) || name === '' || types?.some((type) => type !== (type | 0)))
        throw new OptionError('it cannot be honoured')
    }
    const isPast = (since: number, ms: number): boolean => clock.now() - since >= ms || clock.now() < since

    async function save(): Promise<void> {
      savedAt = clock.now()
      if (position === undefined) return
      const settled = is('saves what is not settled') ? undefined : consumer.settled?.()
      if (settled === undefined) covered = given
      else if (settled === covered) return
      const cursor = is('saves positions without the incarnation')
        ? (settled ?? position)
        : savedCursor(settled ?? position, opened?.incarnation)
      if (cursor === '' || cursor === saved) return
      const before = stage
      stage = 'commit'
      unknown = cursor
      if (is('tells of a save before it is done')) observer?.saved?.(cursor)
      try {
        const expected = is('overwrites whatever is stored') ? await cursors.get(consumer.name) : saved
        if (is('resets the cursor instead of comparing it')) await cursors.reset(consumer.name, cursor)
        else await cursors.set(consumer.name, cursor, expected)
      } catch (error) {
        conflict = codeOf(error) === 'CURSOR_CONFLICT'
        if (is('goes on after a save that failed')) return
        throw error
      }
      stage = before
      unknown = undefined
      saved = cursor
      if (!is('tells of a save before it is done') && !is('tells nobody of its saves')) observer?.saved?.(cursor)
    }
    async function lastSave(): Promise<void> {
      if (is('ends without a last save') || (is('an abort skips the last save') && aborted)) return
      if (is('the last save needs the signal of the run'))
        saved = await cursors.get(consumer.name, { signal: ending.signal })
      if (conflict && !is('saves again after a conflict')) return
      if (conflict) unknown = undefined
      if (unknown !== undefined && !is('saves again after a save of unknown outcome')) {
        const stored = await cursors.get(consumer.name)
        if (stored !== unknown) return
        saved = stored
      }
      unknown = undefined
      await save()
    }
    async function handle(event: Event, receivedAt: number): Promise<void> {
      if (ending.signal.aborted && !is('an abort is seen after the batch only')) throw ending.signal.reason
      const now = clock.now()
      const from = is('waits for timestamps of the future') ? event.timestamp : Math.min(event.timestamp, receivedAt)
      let wait = Math.min(delayMs, from + delayMs - now)
      if (is('waits for timestamps of the future')) wait = from + delayMs - now
      if (is('delays each event, however old it is')) wait = delayMs
      if (is('takes delayMs for seconds')) wait /= 1000
      if (delayMs > 0 && wait > 0 && !is('does not delay')) {
        if (!is('does not save before a delay') && now + wait - savedAt >= 1000) await save()
        await clock.sleep(wait, is('an abort does not end a delay') ? undefined : ending.signal)
      }
      try {
        const isOfType = consumer.types === undefined || consumer.types.includes(event.type)
        if (!isOfType && !is('handles every type')) return
        if (consumer.filter !== undefined && !consumer.filter(event)) return
        given = event.id
        const work: unknown = consumer.handle(event, context)
        if (work === undefined) return
        if (is('does not wait for the handler')) void (work as Promise<void>).catch(note)
        else if (is('does not wait for the handler when it is aborted'))
          await untilAborted(work as Promise<void>, ending.signal)
        else await (work as Promise<void>)
      } catch (error) {
        if (is('skips what cannot be handled')) return
        if (is('takes an event that fails after the abort for handled') && ending.signal.aborted) return
        const asks = is('recover is asked after an abort too') || !ending.signal.aborted
        if (consumer.recover === undefined || !asks || is('recover is never asked')) throw error
        await consumer.recover(error, event, context)
        if (is('recover cannot swallow')) throw error
      }
    }
    async function received<T>(reading: Promise<T>): Promise<T> {
      while (
        consumer.settled !== undefined &&
        covered !== given &&
        !is('waits for the next batch to save what settles')
      ) {
        const over = new AbortController()
        const waited = clock.sleep(1000, over.signal).catch(() => {})
        const isOver = await Promise.race([reading.then(() => true), waited]).finally(() => over.abort())
        if (isOver === true || ending.signal.aborted) break
        await save()
      }
      return reading
    }
    async function consume(): Promise<void> {
      check()
      if (ending.signal.aborted) throw ending.signal.reason
      if (!is('starts the consumer after it has read the cursor')) await start()
      stage = 'cursor'
      saved = await untilAborted(cursors.get(consumer.name, context), ending.signal)
      if (is('starts the consumer after it has read the cursor')) await start()
      stage = 'open'
      const pin = fromHead && (saved === '' || is('starts from the head whatever is stored'))
      const after = is('starts from the earliest, whatever is stored') ? '' : saved
      const open = { signal: ending.signal, toHead: is('ignores toHead') ? false : toHead, fromHead: pin }
      const opening = stream(after, open)
      void opening.then(
        (each) => {
          if (!ending.signal.aborted || is('does not close what opens after the abort')) opened = each
          else void each[Symbol.asyncDispose]()
        },
        () => {},
      )
      try {
        opened = await untilAborted(opening, ending.signal)
      } catch (error) {
        if (!is('starts from the earliest when its cursor is refused') || codeOf(error) === undefined) throw error
        opened = await stream('', open)
      }
      const iterator = opened[Symbol.asyncIterator]()
      let reading = iterator.next()
      for (;;) {
        stage = 'receive'
        if (is('opens the stream again when a read fails')) {
          reading = reading.catch(async (error) => {
            if (ending.signal.aborted) throw error
            opened = await stream(saved, open)
            return opened[Symbol.asyncIterator]().next()
          })
        }
        const { done, value: batch } = await received(reading)
        if (done) break
        if (is('reads ahead without a bound')) await Promise.resolve()
        reading = iterator.next()
        reading.catch(() => {})
        if (is('reads ahead without a bound') && !ending.signal.aborted) {
          const more = await reading.catch(() => undefined)
          const next = iterator.next()
          next.catch(() => {})
          if (more !== undefined && !more.done)
            reading = next.then(async (each) => {
              for (const event of more.value.events) await handle(event, clock.now())
              return each
            })
        }
        stage = 'handle'
        const receivedAt = clock.now()
        if (is('saves before it handles')) {
          position = batch.cursor
          await save()
        }
        if (is('handles a batch at once')) await Promise.all(batch.events.map((each) => handle(each, receivedAt)))
        let previous: Event | undefined
        let events = is('handles a batch at once') ? [] : batch.events
        if (is('handles the newest event of an entity only')) events = batch.events.slice(-1)
        if (is('handles the newest event first')) events = batch.events.toReversed()
        if (is('hands the last event of a batch out again with the next one') && before !== undefined)
          events = [before, ...events]
        before = batch.events.at(-1)
        for (const event of events) {
          eventId = is('names the event before') ? previous?.id : event.id
          if (is('saves the event at hand')) position = event.id
          await handle(event, receivedAt)
          previous = event
          if (position === undefined || !is('saves before it handles')) position = event.id
          eventId = undefined
          const long = !is('saves at the end of a batch only') && isPast(savedAt, 1000)
          if (long) await save()
          if (is('never yields') || !isPast(yieldedAt, 8)) continue
          await clock.yield()
          yieldedAt = clock.now()
        }
        if (!is('saves the position of the last event')) position = batch.cursor
        batches++
        if (batch.events.length === 0 && is('saves nothing where there was no event')) continue
        if (is('saves on the way out only')) continue
        if (is('saves every other batch') && batches % 2 === 0) continue
        if (is('does not save the pinned position') && batches === 1 && pin) continue
        if (is('handles on while it saves')) void save().catch(note)
        else await save()
      }
      if (!toHead && !is('ends well when its stream ends')) throw new StreamEndedError()
    }
    async function start(): Promise<void> {
      await consumer.start?.({ fail, signal: ending.signal })
      started = true
    }
    async function stop(): Promise<void> {
      if (is('never stops the consumer')) return
      if (is('stops the consumer only if it failed') && failure === undefined) return
      await consumer.stop?.({
        signal: is('stop is given the signal of the run') ? ending.signal : new AbortController().signal,
      })
      if (is('stops the consumer twice')) await consumer.stop?.({ signal: new AbortController().signal })
    }

    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    let started = false
    await consume().catch((error) => note(error))
    const saving = async (): Promise<void> => lastSave().catch((error) => note(error, 'commit'))
    if (started || consumer.start === undefined) {
      if (is('saves last, and then stops')) await saving()
      await stop().catch((error) => note(error, 'handle'))
      if (!is('saves last, and then stops')) await saving()
      if (!(is('leaves the stream open when it fails') && failure !== undefined)) {
        const closing = async (): Promise<void> => opened?.[Symbol.asyncDispose]()
        if (!is('leaves the stream open')) await closing().catch((error) => note(error, 'receive'))
      }
    }
    if (!is('leaves its listener on the signal')) signal?.removeEventListener('abort', onAbort)
    if (is('leaves a timer')) void clock.sleep(60_000).catch(() => {})
    if (failure !== undefined) throw thrown(failure)
    if (!aborted) return { reason: 'head', cursor: is('does not tell the cursor') ? '' : saved }
    const isTold = late !== undefined && !is('hides what is thrown after the abort')
    return { reason: 'aborted', cursor: saved, ...(isTold ? { error: late } : {}) }
  }

  function thrown(failure: RunError): unknown {
    if (is('rejects with the bare cause')) return failure.cause
    if (is('takes everything for retriable')) return Object.assign(failure, { retriable: true })
    if (is('names every stage receive')) return Object.assign(failure, { stage: 'receive' })
    if (is('hides the cause')) return Object.assign(failure, { cause: new Error(failure.message) })
    if (is('hides the code')) return Object.assign(failure, { code: 'RUN_FAILED' })
    return failure
  }
}

/** What is easily done wrong in a run loop; with where it is known from. */
export const runFlaws = {
  'saves before it handles': 'docs/rules.md, rule 1',
  'saves the event at hand': 'docs/rules.md, rule 1',
  'saves what is not settled': 'docs/rules.md, rule 1',
  'saves the position of the last event': 'luno/reflex: the persisted cursor does not advance past trailing noops',
  'saves nothing where there was no event': 'Contracts: an empty batch moves the position',
  'saves on the way out only': 'luno/reflex: a crash replays up to 5 s of events',
  'saves every other batch': 'luno/reflex',
  'saves at the end of a batch only': 'Run, in order: within a long batch at least every second',
  'waits for the next batch to save what settles': 'Run, in order: what settles on an idle stream is saved as well',
  'does not save before a delay': 'Run, in order: within a long batch at least every second',
  'saves positions without the incarnation': 'Contracts: position@incarnation',
  'overwrites whatever is stored': 'luno/reflex: two processes of one name fight over the cursor',
  'resets the cursor instead of comparing it': 'luno/reflex',
  'saves again after a conflict': 'Supervise',
  'saves again after a save of unknown outcome': 'Run, in order',
  'goes on after a save that failed': 'docs/rules.md, rule 3',
  'handles on while it saves': 'Run, in order',
  'ends without a last save': 'luno/reflex',
  'an abort skips the last save': 'luno/reflex: the cursor is lost if ctx is cancelled between Consume and SetCursor',
  'the last save needs the signal of the run': 'luno/reflex: the exit flush needs a fresh ctx',
  'saves last, and then stops': 'Run, in order',
  'skips what cannot be handled': 'docs/rules.md, rule 3',
  'handles a batch at once': 'docs/verify.md L10',
  'handles the newest event of an entity only': 'docs/verify.md O3: no skip, over compaction too',
  'handles the newest event first': 'docs/rules.md, rule 2',
  'hands the last event of a batch out again with the next one': 'luno/reflex: `after` is inclusive',
  'does not wait for the handler': 'docs/verify.md L10',
  'handles every type': 'docs/verify.md L9',
  'recover is never asked': 'luno/reflex: WithRecoverFunction',
  'recover cannot swallow': 'luno/reflex: WithRecoverFunction',
  'recover is asked after an abort too': 'luno/reflex: not called for expected errors',
  'names the event before': 'docs/verify.md L3',
  'names every stage receive': 'luno/reflex',
  'rejects with the bare cause': 'luno/reflex: stream-open errors are returned bare',
  'hides the cause': 'docs/verify.md L3',
  'hides the code': 'Errors',
  'takes everything for retriable': 'Supervise',
  'a failure in the background is only told at the end': 'Contracts: background work can fail the run',
  'starts the consumer after it has read the cursor': 'luno/reflex: GetCursor precedes Reset',
  'never stops the consumer': 'luno/reflex: it never calls Stop()',
  'stops the consumer only if it failed': 'luno/reflex',
  'stops the consumer twice': 'luno/reflex: Stop twice panics',
  'stop is given the signal of the run': 'Contracts: stop has a live signal',
  'the handler is not told of an abort': 'docs/verify.md L11',
  'does not wait for the handler when it is aborted': 'docs/rules.md, rule 6',
  'an abort is seen after the batch only': 'luno/reflex: no "ctx done" check between Recv and Consume',
  'an abort is a failure': 'docs/rules.md, rule 6',
  'takes an event that fails after the abort for handled': 'docs/verify.md L11',
  'hides what is thrown after the abort': 'docs/rules.md, rule 6',
  'an abort does not end a delay': 'luno/reflex',
  'does not tell the cursor': 'Contracts',
  'ignores toHead': 'docs/verify.md S7',
  'ends well when its stream ends': 'docs/rules.md, rule 3: StreamEndedError',
  'starts from the head whatever is stored': 'luno/reflex: WithStreamFromHead overrides after',
  'does not save the pinned position': 'luno/reflex: an event between open and the first save is lost',
  'starts from the earliest, whatever is stored': 'kafkajs fromBeginning',
  'starts from the earliest when its cursor is refused': 'auto.offset.reset',
  'opens the stream again when a read fails': 'docs/rules.md, rule 3: no adapter retries or reconnects',
  'reads ahead without a bound': 'docs/rules.md, rule 7',
  'never yields': 'docs/rules.md, rule 6',
  'does not delay': 'docs/verify.md S16',
  'takes delayMs for seconds': 'docs/verify.md S16',
  'delays each event, however old it is': 'luno/reflex: lag is per event',
  'waits for timestamps of the future': 'docs/verify.md S16: a skewed clock cannot block for ever',
  'does not close what opens after the abort': 'docs/rules.md, rule 6',
  'leaves the stream open when it fails': 'luno/reflex: Close is optional',
  'leaves the stream open': 'luno/reflex: Close is optional',
  'leaves its listener on the signal': 'docs/rules.md, rule 6',
  'takes every option as it is': 'docs/rules.md, rule 12',
  'tells of a save before it is done': 'Supervise: progress',
  'tells nobody of its saves': 'Supervise: progress',
  'leaves a timer': 'docs/rules.md, rule 6',
} as const
export type RunFlaw = keyof typeof runFlaws
