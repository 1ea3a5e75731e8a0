import { setImmediate as turn } from 'node:timers/promises'
import { codeOf, messageOf } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import type { EventStream, StreamOptions } from '../../core/stream.ts'
import type { Patience } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import { outcomeOf } from '../conformance/within.ts'
import { eventOf } from '../event-body.ts'
import { countOf, errorInWords } from './in-words.ts'
import { type LogModel, logModel, type SeenCursor } from './log-model.ts'
import { type Disturbance, type ModelReader, modelReader } from './model-reader.ts'
import type { SourceCommand } from './source-command.ts'
import type { SourceSubject } from './source-subject.ts'

/** A schedule under way: the log, the model of it, and the streams that are open. */
export interface SourcePlay {
  readonly subject: SourceSubject
  readonly model: LogModel
  readonly steps: Steps
  readonly patience: Patience
  /** Streams that are open and expected to go on. */
  readers(): ModelReader[]
  /** Appends small events; false if the log refuses them. */
  append(count: number, type: number): Promise<boolean>
  appendBody(body: Extract<SourceCommand, { do: 'appendBody' }>['body']): Promise<void>
  /** Opens a stream and holds what becomes of it against the model; undefined if it is rightly refused. */
  open(seen: SeenCursor, options?: Omit<StreamOptions, 'signal'>): Promise<ModelReader | undefined>
  /** The cursor that a number means: `""`, the newest, the oldest, the second newest, and so on. */
  cursorAt(index: number): SeenCursor
  disturb(by: Disturbance): void
  /** Long enough for a read to have reached a server; nothing is lost if it has not. */
  settle(): Promise<void>
  end(): Promise<void>
}

/** More empty batches in a row than any log has reason for. */
const MAX_EMPTY = 200

/** Begins a schedule. */
export function sourcePlay(subject: SourceSubject, steps: Steps, patience: Patience): SourcePlay {
  const { source } = subject
  const { limitMs } = patience
  const model = logModel()
  const all: ModelReader[] = []
  const startedAt = Math.trunc(Date.now() / 1000) * 1000 - 3_600_000
  let appended = 0
  let incarnated = false

  async function appendEvents(events: readonly NewEvent[], words: string): Promise<boolean> {
    steps.step(words)
    const outcome = await outcomeOf(subject.append(events), limitMs * 2)
    if (outcome.is === 'value') {
      const ids = outcome.value ?? undefined
      model.append(events, ids)
      if (ids !== undefined)
        steps.result(
          ids.length === 1
            ? `id ${JSON.stringify(ids[0])}`
            : `ids ${JSON.stringify(ids[0])} to ${JSON.stringify(ids.at(-1))}`,
        )
      return true
    }
    if (outcome.is === 'nothing') throw new Error(`append has not ended within ${limitMs * 2} ms`)
    const code = codeOf(outcome.error)
    if (code !== 'EVENT_UNENCODABLE' && code !== 'OPTION_INVALID') throw outcome.error
    steps.result(`refused, ${code}`)
    return false
  }

  return {
    subject,
    model,
    steps,
    patience,
    readers: () => all.filter(({ isOpen }) => isOpen),
    append: async (count, type) => {
      const events = Array.from({ length: count }, () => {
        const foreignId = `e${++appended}`
        // Rising, and in the past, as they are when events are appended as they happen.
        const timestamp = startedAt + appended * 1000
        return { type, foreignId, timestamp, metadata: Buffer.from(`payload ${appended}`) }
      })
      const typed = type === 1 ? '' : ` of type ${type}`
      const done = await appendEvents(events, `append ${count === 1 ? 'an event' : `${count} events`}${typed}`)
      if (!done) steps.refused(`events of type ${type}`)
      return done
    },
    appendBody: async (body) => {
      const { foreignId, hex, headers } = body
      const size = hex === null ? 'no payload' : `${hex.length / 2} bytes`
      const words = `append an event with the foreignId ${JSON.stringify(foreignId)}, ${size} and ${headers.length} headers`
      if (await appendEvents([eventOf(body)], words)) return
      steps.refused('some events, which it cannot carry')
    },
    open: async (seen, options = {}) => {
      const words = optionWords(options)
      const opened = `${options.fromHead ? 'from the head' : seen.cursor === '' ? 'at ""' : `after ${JSON.stringify(seen.cursor)}`}${words}`
      const { types } = options
      const isWanted = (i: number): boolean => types === undefined || types.includes(model.entries[i]?.body?.type ?? 0)
      const expected = options.fromHead ? 'opens' : model.expect(seen, { incarnated, isWanted })
      if (expected === 'anything') return undefined
      steps.step(`open a stream ${opened}`)
      const controller = new AbortController()
      const atOpen = model.entries.length
      const outcome = await outcomeOf(source.stream(seen.cursor, { ...options, signal: controller.signal }), limitMs)
      if (outcome.is === 'nothing')
        throw new Violation('Y2', `the open of a stream ${opened} has not ended within ${limitMs} ms`)
      if (outcome.is === 'value') {
        if (expected === 'trimmed' || expected === 'ahead') {
          await outcome.value[Symbol.asyncDispose]()
          const lost =
            expected === 'trimmed' ? 'events after it were trimmed' : 'that is beyond the end, or of an earlier log'
          const id = expected === 'trimmed' ? 'S12' : 'S11'
          throw new Violation(
            id,
            `the open of a stream ${opened} succeeded, although ${lost}; expected CURSOR_${expected.toUpperCase()}`,
          )
        }
        incarnated ||= outcome.value.incarnation !== undefined
        const at = options.fromHead ? { least: atOpen, most: atOpen } : seen
        const start = {
          stream: outcome.value,
          controller,
          after: seen.cursor,
          least: at.least,
          most: at.most,
          fromEarliest: seen.cursor === '' && !options.fromHead,
          pinsHead: options.fromHead === true,
          types,
          end: options.toHead ? atOpen : undefined,
          opened,
        }
        const reader = modelReader(start, model, patience)
        all.push(reader)
        return reader
      }
      const { error } = outcome
      const code = codeOf(error)
      if (code === 'OPTION_INVALID' && (words !== '' || options.fromHead)) {
        steps.refused(
          Object.keys(options)
            .filter((name) => options[name as keyof typeof options] !== undefined)
            .join(' and '),
        )
        steps.result('refused')
        return undefined
      }
      steps.result(code ?? messageOf(error))
      checkRefusal(expected, error, opened)
      const isRecreated = seen.generation !== model.generation && incarnated && seen.cursor.includes('@')
      if (expected === 'ahead') checkReason(error, isRecreated, opened)
      return undefined
    },
    cursorAt: (index) => {
      const { cursors } = model
      const i = index % cursors.length
      return cursors[i % 2 === 0 ? i / 2 : cursors.length - (i + 1) / 2] as SeenCursor
    },
    disturb: (by) => {
      for (const reader of all) if (reader.isOpen) reader.disturb(by)
    },
    settle: async () => {
      if (limitMs >= 1000) await new Promise((resolve) => setTimeout(resolve, 20))
      else await turn()
    },
    end: async () => {
      for (const reader of all) await reader.close()
    },
  }
}

/** Reads on until everything that is due has come, or the stream has ended. */
export async function drain(reader: ModelReader, steps: Steps): Promise<void> {
  let empty = 0
  while (reader.isReadable()) {
    const before = reader.least
    steps.step('read a batch')
    steps.result(await reader.read())
    empty = reader.least > before ? 0 : empty + 1
    if (empty > MAX_EMPTY)
      throw new Violation(
        'S9',
        `a stream opened ${reader.start.opened} gave ${empty} batches without an event, although ${countOf(reader.due(), 'event')} should come`,
      )
  }
}

/** Disposes of a stream that nobody reads. */
export async function dispose(stream: EventStream, limitMs: number): Promise<void> {
  const outcome = await outcomeOf(stream[Symbol.asyncDispose](), limitMs)
  if (outcome.is === 'nothing') throw new Violation('Y1', `the close of a stream has not ended within ${limitMs} ms`)
}

function checkRefusal(expected: string, error: unknown, opened: string): void {
  const code = codeOf(error)
  const found = `the open of a stream ${opened} failed with ${errorInWords(error)}`
  if (expected === 'trimmed or opens' && code === 'CURSOR_TRIMMED') return
  if (expected === 'opens' || expected === 'trimmed or opens')
    throw new Violation(
      code === 'CURSOR_TRIMMED' ? 'S12' : code?.startsWith('CURSOR') ? 'S11' : 'S2',
      `${found}; expected that it opens`,
    )
  const wanted = `CURSOR_${expected.toUpperCase()}`
  if (code !== wanted) throw new Violation(expected === 'trimmed' ? 'S12' : 'S11', `${found}; expected ${wanted}`)
}

/** Why a cursor is ahead tells an operator what to do. */
function checkReason(error: unknown, isRecreated: boolean, opened: string): void {
  const { reason } = error as { reason?: unknown }
  if (reason === 'recreated' || (reason === 'beyond' && !isRecreated)) return
  throw new Violation(
    'S11',
    `the open of a stream ${opened} failed with CURSOR_AHEAD for the reason ${JSON.stringify(reason)}; expected ${isRecreated ? '"recreated"' : '"beyond"'}`,
  )
}

function optionWords({ toHead, types }: Omit<StreamOptions, 'signal'>): string {
  const words = [
    ...(toHead ? ['to the head'] : []),
    ...(types === undefined ? [] : [`of the type${types.length === 1 ? '' : 's'} ${types.join(', ')}`]),
  ]
  return words.length === 0 ? '' : `, ${words.join(', ')}`
}
