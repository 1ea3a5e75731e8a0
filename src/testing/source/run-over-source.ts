import { codeOf, messageOf, RunError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { memoryCursors } from '../../core/memory-cursors.ts'
import { run } from '../../core/run.ts'
import { Violation } from '../conformance/violation.ts'
import { outcomeOf } from '../conformance/within.ts'
import type { SourcePlay } from './source-play.ts'

/** Consumers under one name, one after the other, over the log of a schedule. */
export interface RunOverSource {
  /** Runs until the head, until the handler fails at its event number `after`, or until it is aborted in that. */
  once(until: 'head' | 'failure' | 'abort', after: number): Promise<void>
}

/** What was planned is no violation. */
const planned = new Error('the handler fails, as planned')

/** Makes it, with nothing stored. */
export function runOverSource({ subject, model, steps, patience }: SourcePlay): RunOverSource {
  const cursors = memoryCursors()
  const name = 'suite'
  /** How many entries have been handled or passed over, and of which log. */
  let position = { least: 0, most: 0, generation: 0 }

  return {
    once: async (until, after) => {
      const stored = await cursors.get(name)
      const seen = { cursor: stored, ...position }
      const incarnated = stored.includes('@')
      const expected = model.expect(seen, { incarnated, isWanted: () => true })
      // A position that was lost with what followed it says nothing about the log of now.
      const isKnown =
        stored === '' || model.cursors.some((each) => each.cursor === stored && each.generation === position.generation)
      if (expected === 'anything' || !isKnown) return
      const how =
        until === 'head'
          ? 'to the head'
          : until === 'failure'
            ? `whose handler fails at event ${after + 1}`
            : `aborted in event ${after + 1}`
      steps.step(`run a consumer ${how}, after ${JSON.stringify(stored)}`)
      const controller = new AbortController()
      const { entries } = model
      const end = entries.length
      let { least, most } =
        expected === 'opens' && stored === '' ? { least: model.trimmed, most: model.trimmed } : position
      let handled = 0
      let stopped = false
      let violation: Violation | undefined
      const handle = (event: Event): void => {
        const index = entries.findIndex(
          (entry, i) =>
            i >= least &&
            (entry.id === undefined || entry.id === event.id) &&
            entry.body?.foreignId === event.foreignId,
        )
        const told = `the event ${JSON.stringify(event.id)} (${event.foreignId})`
        const skipped = entries.findIndex((entry, i) => i >= most && i < index && !entry.removed)
        if (stopped)
          violation ??= new Violation('L4', `the handler was given ${told} after it had failed or was aborted`)
        else if (index < 0)
          violation ??= new Violation('L1', `the handler was given ${told} again, or it was never appended`)
        else if (skipped >= 0)
          violation ??= new Violation('L1', `the handler was given ${told}, but event ${skipped + 1} before it never`)
        if (handled === after && until !== 'head') stopped = true
        if (stopped && until === 'failure') throw planned
        handled++
        least = index + 1
        most = least
        const entry = entries[index]
        if (entry !== undefined) entry.id ??= event.id
        if (stopped) controller.abort(planned)
      }
      const running = run(
        { stream: subject.source.stream, cursors, consumer: { name, handle } },
        { toHead: true, signal: controller.signal },
      )
      const outcome = await outcomeOf(running, patience.limitMs * 2)
      if (outcome.is === 'nothing') {
        controller.abort(planned)
        throw new Violation('L1', `a run ${how} has not ended within ${patience.limitMs * 2} ms`)
      }
      if (violation !== undefined) throw violation
      const left = entries.findIndex((entry, i) => i >= most && i < end && !entry.removed)
      if (outcome.is === 'error') {
        const { error } = outcome
        const code = codeOf(error)
        steps.result(`${handled} handled, ${code ?? messageOf(error)}`)
        if (code === 'OPTION_INVALID') return steps.refused('toHead')
        const cause = error instanceof RunError ? error.cause : error
        if (cause !== planned) {
          const undecodable = entries.some(({ body, removed }) => body === undefined && !removed)
          const right =
            (expected.startsWith('trimmed') && code === 'CURSOR_TRIMMED') ||
            (expected === 'ahead' && code === 'CURSOR_AHEAD') ||
            (undecodable && code === 'EVENT_UNDECODABLE')
          if (!right && undecodable)
            throw new Violation('S14', `a run ${how} failed: ${messageOf(error)}; expected EVENT_UNDECODABLE`)
          if (!right) throw new Violation('L1', `a run ${how} failed: ${messageOf(error)}`)
        } else if (!stopped) throw new Violation('L4', `a run ${how} failed before: ${messageOf(error)}`)
      } else {
        steps.result(`${handled} handled, ${outcome.value.reason}`)
        if (expected === 'trimmed' || expected === 'ahead')
          throw new Violation(
            expected === 'trimmed' ? 'S12' : 'S11',
            `a run ${how} ended well, although its cursor ${JSON.stringify(stored)} cannot be honoured`,
          )
        if (outcome.value.reason === 'head' && left >= 0 && entries[left]?.body === undefined)
          throw new Violation(
            'S14',
            `a run ${how} ended at the head, over what is not an event; expected EVENT_UNDECODABLE`,
          )
        if (outcome.value.reason === 'head' && left >= 0)
          throw new Violation('L1', `a run ${how} ended at the head, but event ${left + 1} of ${end} was never handled`)
        if (outcome.value.reason === 'head') most = Math.max(end, most)
      }
      if (expected === 'trimmed' || expected === 'ahead') return
      position = { least, most: Math.max(least, most), generation: model.generation }
      const cursor = await cursors.get(name)
      if (cursor !== '' && cursor !== stored) model.see({ cursor, least: position.least, most: position.most })
      if (handled > 0 && cursor === stored)
        throw new Violation(
          'L2',
          `a run ${how} handled ${handled} events, but the cursor is still ${JSON.stringify(cursor)}`,
        )
    },
  }
}
