import { codeOf } from '../../core/errors.ts'
import { Violation } from '../conformance/violation.ts'
import { outcomeOf } from '../conformance/within.ts'
import { countOf, errorInWords } from './in-words.ts'
import { malformedAt } from './open-source.ts'
import { dispose, type SourcePlay } from './source-play.ts'

/** Asks the source what it can tell, and holds it against the model; the cursors it gives are read from later. */
export async function ask(
  world: SourcePlay,
  what: 'head' | 'backlog' | 'compare' | 'at',
  index: number,
): Promise<void> {
  const { subject, model, steps, patience } = world
  const { source } = subject
  const { entries, trimmed } = model
  const seen = world.cursorAt(index)
  const isOpen = model.expect(seen, { incarnated: seen.cursor.includes('@'), isWanted: () => true }) === 'opens'

  const eventAt = (i: number): string => `event ${entries[i]?.id === undefined ? i + 1 : JSON.stringify(entries[i].id)}`
  const isRising = (): boolean =>
    entries.every(({ body }, i) => i === 0 || Number(body?.timestamp) > Number(entries[i - 1]?.body?.timestamp))
  const answer = async <T>(id: string, asked: string, asking: Promise<T>): Promise<T> => {
    steps.step(`ask for ${asked}`)
    const outcome = await outcomeOf(asking, patience.limitMs)
    if (outcome.is === 'nothing')
      throw new Violation(id, `${asked} has not been answered within ${patience.limitMs} ms`)
    if (outcome.is === 'error') throw new Violation(id, `${asked} was answered with ${errorInWords(outcome.error)}`)
    return outcome.value
  }

  if (source[what] === undefined) return steps.refused(what)
  if (what === 'head' && source.head !== undefined) {
    const head = await answer('Q1', 'the head', source.head())
    steps.result(JSON.stringify(head))
    if (head === '' && entries.length > 0)
      throw new Violation('Q1', `the head is "" although ${countOf(entries.length, 'event')} were appended`)
    if (head !== '') {
      const known = model.find(head)
      if (known !== undefined && known.most < entries.length)
        throw new Violation('Q1', `the head is ${JSON.stringify(head)}, but ${eventAt(known.most)} is after that`)
      if (known !== undefined && known.least > entries.length)
        throw new Violation('Q1', `the head is ${JSON.stringify(head)}, which is beyond the newest event`)
      model.see({ cursor: head, least: entries.length, most: entries.length })
      const opening = await outcomeOf(source.stream(head, {}), patience.limitMs)
      if (opening.is === 'error')
        throw new Violation(
          'Q1',
          `the head is ${JSON.stringify(head)}, but an open after that failed with ${errorInWords(opening.error)}`,
        )
      if (opening.is === 'value') await dispose(opening.value, patience.limitMs)
    }
    const reason = new Error('the schedule aborts it')
    const aborted = await outcomeOf(source.head({ signal: AbortSignal.abort(reason) }), patience.limitMs)
    if (aborted.is !== 'error' || aborted.error !== reason)
      throw new Violation('S10', 'a question for the head whose signal has aborted did not reject with its reason')
  } else if (what === 'at' && source.at !== undefined) {
    const first = await answer('Q3', 'the cursor of time 0', source.at(0))
    const last = await answer('Q3', 'the cursor of an hour from now', source.at(Date.now() + 3_600_000))
    steps.result(`${JSON.stringify(first)} and ${JSON.stringify(last)}`)
    if (first !== '') model.see({ cursor: first, least: trimmed, most: trimmed })
    if (last === '' && entries.length > 0)
      throw new Violation('Q3', 'the cursor of an hour from now is "", before everything')
    if (last !== '') model.see({ cursor: last, least: entries.length, most: entries.length })
    const present = model.present()
    const at = present[index % present.length]
    const timestamp = at === undefined ? undefined : entries[at]?.body?.timestamp
    if (at === undefined || timestamp === undefined || !isRising()) return
    const asked = `the cursor of the time of ${eventAt(at)}`
    const cursor = await answer('Q3', asked, source.at(timestamp))
    steps.result(JSON.stringify(cursor))
    const known = model.find(cursor)
    if (known !== undefined && known.least > at)
      throw new Violation(
        'Q3',
        `${asked} is ${JSON.stringify(cursor)}, which is after that event; expected one before it`,
      )
    // A log whose own times are later may give an earlier one.
    if (cursor !== '') model.see({ cursor, least: Math.min(trimmed, at), most: at })
  } else if (what === 'backlog' && source.backlog !== undefined && isOpen) {
    const wrong = malformedAt(subject, index)
    const refused = await outcomeOf(source.backlog(wrong), patience.limitMs)
    if (refused.is !== 'error' || codeOf(refused.error) !== 'CURSOR_INVALID')
      throw new Violation(
        'S11',
        `the backlog after ${JSON.stringify(wrong)}, which is no cursor, ${refused.is === 'error' ? `failed with ${errorInWords(refused.error)}` : 'was told'}; expected CURSOR_INVALID`,
      )
    const asked = `the backlog after ${JSON.stringify(seen.cursor)}`
    const { count, unit } = await answer('Q2', asked, source.backlog(seen.cursor))
    steps.result(`${count} ${unit}`)
    const after = (from: number): bigint =>
      BigInt(entries.filter(({ removed }, i) => i >= Math.max(from, trimmed) && !removed).length)
    const [least, most] = [after(seen.most), after(seen.least)]
    if (count < least || (unit === 'events' && count > most))
      throw new Violation(
        'Q2',
        `${asked} is ${countOf(count, unit.slice(0, -1))}; expected ${least === most ? least : `${least} to ${most}`}`,
      )
    if (most === 0n && count > 0n && seen.least === entries.length && unit === 'events')
      throw new Violation('Q2', `${asked} is ${count} although nothing follows it`)
  } else if (what === 'compare' && source.compare !== undefined) {
    for (const other of model.cursors) {
      if (other.generation !== model.generation || seen.generation !== model.generation) continue
      if (Math.max(other.most, seen.most) > entries.length || other.cursor === '' || seen.cursor === '') continue
      const wanted =
        seen.cursor === other.cursor ? 0 : seen.most < other.least ? -1 : seen.least > other.most ? 1 : undefined
      if (wanted === undefined) continue
      const found = Math.sign(source.compare(seen.cursor, other.cursor))
      if (found !== wanted) {
        steps.step(`compare ${JSON.stringify(seen.cursor)} with ${JSON.stringify(other.cursor)}`)
        throw new Violation(
          'Q4',
          `compare(${JSON.stringify(seen.cursor)}, ${JSON.stringify(other.cursor)}) is ${found}; expected ${wanted}`,
        )
      }
    }
  }
}
