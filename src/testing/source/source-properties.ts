import fc from 'fast-check'
import type { Grade, Property } from '../conformance/property.ts'
import { sourceCommands as c, type SourceCommand } from './source-command.ts'
import type { SourceSubject } from './source-subject.ts'

type Rule = Property<SourceSubject, SourceCommand>
type Step = fc.Arbitrary<SourceCommand>

/** Schedules of these commands, each as likely as it is often named. */
function of(...commands: readonly Step[]): fc.Arbitrary<readonly SourceCommand[]> {
  return fc.array(fc.oneof(...commands), { minLength: 1, maxLength: 12, size: 'max' })
}

/** Schedules with one fault that takes its time, somewhere among other commands. */
function once(fault: Step, ...others: readonly Step[]): fc.Arbitrary<readonly SourceCommand[]> {
  const some = fc.array(fc.oneof(...others), { maxLength: 5, size: 'max' })
  return fc.tuple(some, fault, some).map(([before, one, after]) => [...before, one, ...after])
}

/** Schedules of these commands in this order, each once or twice: for what takes many steps to happen. */
function inOrder(...commands: readonly Step[]): fc.Arbitrary<readonly SourceCommand[]> {
  const times = commands.map((command) => fc.array(command, { minLength: 1, maxLength: 2, size: 'max' }))
  return fc.tuple(...times).map((parts) => parts.flat())
}

const rule = (
  id: string,
  grade: Grade,
  title: string,
  why: string,
  rest: Pick<Rule, 'needs' | 'option' | 'schedules'>,
): Rule => ({ id, grade, title, why, ...rest })

/** The properties of a source; the ids are those of docs/verify.md. */
export const sourceProperties: readonly Rule[] = [
  rule(
    'S1',
    'required',
    'A stream at "" gives every event from the earliest, in the order of the log.',
    'A consumer that starts anew would miss events for good.',
    {
      schedules: of(c.append, c.append, c.openFirst, c.read, c.drain),
    },
  ),
  rule(
    'S2',
    'required',
    'A stream after a cursor gives exactly what follows it, for every cursor that was ever seen.',
    'Each restart would lose an event, or handle one again.',
    {
      schedules: of(c.append, c.append, c.open, c.open, c.read, c.drain),
    },
  ),
  rule(
    'S3',
    'required',
    'Reading in parts, split at any cursors, is one full read.',
    'What is read would depend on when the process was restarted.',
    {
      schedules: of(c.append, c.appendMany, c.open, c.read, c.read, c.close),
    },
  ),
  rule(
    'S4',
    'required',
    'A cursor is a string, moves with the events of its batch, and can be resumed from.',
    'A saved position would be unusable, or before what was handled.',
    {
      schedules: of(c.append, c.appendTyped, c.openTyped, c.open, c.read, c.drain),
    },
  ),
  rule(
    'S5',
    'required',
    'The same event has the same id on every read.',
    'Deduplication by id, in every consumer behind it, would fail.',
    {
      schedules: of(c.append, c.append, c.openFirst, c.drain, c.open),
    },
  ),
  rule('S6', 'required', 'Streams are independent of each other.', 'One consumer would take events from another.', {
    schedules: of(c.append, c.append, c.open, c.open, c.read, c.read, c.close, c.abort),
  }),
  rule(
    'S7',
    'required',
    'With toHead, a stream ends at the position that was the head when it was opened.',
    'A batch job would never end, or end before it is done.',
    {
      option: 'toHead',
      schedules: of(c.append, c.append, c.openToHead, c.openToHead, c.read, c.drain),
    },
  ),
  rule(
    'S8',
    'required',
    'With fromHead, the first batch is empty and carries the head pinned at open; what is appended then is given.',
    'A consumer that starts at the head would skip what comes before its first event.',
    {
      option: 'fromHead',
      schedules: of(c.append, c.append, c.openFromHead, c.read, c.drain, c.open, c.await),
    },
  ),
  rule(
    'S9',
    'stochastic',
    'A stream at the head waits, and gives what is appended later.',
    'A consumer would stand still, or end, in a quiet night.',
    {
      schedules: of(c.openFirst, c.open, c.await, c.await, c.append, c.drain),
    },
  ),
  rule(
    'S10',
    'required',
    'An abort ends a pending read and an open with its reason; nothing is given afterwards.',
    'A process could not be stopped, or would handle events after it was.',
    {
      schedules: of(c.append, c.open, c.openFirst, c.abort, c.abort, c.openAborted, c.read),
    },
  ),
  rule(
    'S11',
    'required',
    'A cursor that is malformed, beyond the end or of an earlier log is its typed error, on open and while streaming.',
    'A restored or recreated log would be read from a wrong position, in silence.',
    {
      schedules: fc.oneof(
        of(c.append, c.open, c.openMalformed),
        of(c.append, c.append, c.open, c.openFirst, c.drain, c.rewind, c.openToHead),
        inOrder(c.append, fc.oneof(c.openTyped, c.openFromHead), c.await, c.rewind),
        inOrder(c.append, c.openFirst, c.drain, c.recreate, c.open),
      ),
    },
  ),
  rule(
    'S12',
    'capability',
    'A cursor whose events were trimmed is CURSOR_TRIMMED, on open and while streaming; "" never is.',
    'Retention would take unread events away, and nobody would know.',
    {
      needs: ['trim'],
      schedules: fc.oneof(
        of(c.append, c.append, c.open, c.openFirst, c.read, c.drain, c.trim, c.trim),
        inOrder(c.append, c.open, c.trim, c.open),
        of(c.append, c.append, c.openTyped, c.openToHead, c.read, c.drain, c.trim),
        inOrder(c.openFromHead, c.append, c.read, c.trim),
      ),
    },
  ),
  rule(
    'S13',
    'required',
    'Every event is read as it was appended: type, foreignId, time, payload and headers; and stays so when more is read.',
    'Payloads would be changed on the way.',
    {
      schedules: of(c.appendBody, c.appendBody, c.openFirst, c.drain),
    },
  ),
  rule(
    'S14',
    'capability',
    'What is not an event is EVENT_UNDECODABLE at its position, not skipped.',
    'An event that cannot be read would be lost in silence.',
    {
      needs: ['corrupt'],
      schedules: of(c.append, c.corrupt, c.openFirst, c.open, c.drain, c.run),
    },
  ),
  rule(
    'S15',
    'required',
    'An option is honoured, or refused with OPTION_INVALID.',
    'A consumer would handle events it did not ask for, or think it is safe.',
    {
      schedules: of(c.appendTyped, c.appendTyped, c.openTyped, c.openTyped, c.read, c.drain, c.openWrongly, c.await),
    },
  ),
  rule(
    'S17',
    'required',
    'The position of a stream moves over events that it does not ask for, also while none come that it does.',
    'The cursor of a quiet consumer would fall off the log, or make it read the same again and again.',
    {
      option: 'types',
      schedules: of(c.openTyped, c.openTyped, c.passOver, c.passOver, c.append, c.drain),
    },
  ),
  rule(
    'O1',
    'required',
    'Events come in the order of the log, also in large batches.',
    'Updates of one entity would be applied out of order.',
    {
      schedules: of(c.appendMany, c.append, c.open, c.read, c.drain),
    },
  ),
  rule('O2', 'required', 'A stream never goes backward.', 'Consumers would handle events twice without a restart.', {
    schedules: of(c.append, c.open, c.openFirst, c.read, c.drain, c.await),
  }),
  rule(
    'O3',
    'required',
    'A stream never skips, also over what was taken out of the middle, and while others write.',
    'Events would be lost without an error.',
    {
      schedules: fc.oneof(
        of(c.append, c.append, c.open, c.openFirst, c.read, c.drain, c.remove, c.remove, c.await),
        inOrder(c.append, c.remove, c.open),
      ),
    },
  ),
  rule(
    'L1',
    'required',
    'A run to the head handles every event, and its cursor never passes one that was not handled.',
    'Events would never be handled.',
    {
      option: 'toHead',
      schedules: of(c.append, c.append, c.run, c.run, c.trim, c.rewind, c.recreate),
    },
  ),
  rule(
    'L4',
    'required',
    'The event at which a run failed is the first of the next one.',
    'A failure would cost an event.',
    {
      option: 'toHead',
      schedules: of(c.append, c.run, c.run),
    },
  ),
  rule(
    'Q1',
    'required',
    'head is the cursor after the newest event.',
    'A consumer that starts there would skip, or repeat.',
    {
      option: 'head',
      schedules: of(c.append, c.askHead, c.open, c.drain),
    },
  ),
  rule('Q2', 'required', 'backlog is what follows a cursor.', 'Alarms on lag would be wrong.', {
    option: 'backlog',
    schedules: of(c.append, c.append, c.openTyped, c.drain, c.askBacklog, c.remove),
  }),
  rule(
    'Q3',
    'required',
    'at is the cursor before the first event of a time.',
    'A replay from a time would miss events.',
    {
      option: 'at',
      schedules: of(c.append, c.askAt, c.open, c.drain),
    },
  ),
  rule(
    'Q4',
    'required',
    'compare orders cursors as the log does.',
    'Of two positions the wrong one would be taken for the later.',
    {
      option: 'compare',
      schedules: of(c.append, c.appendMany, c.open, c.read, c.askCompare),
    },
  ),
  rule(
    'Y1',
    'required',
    'A stream is closed once and for all, in any state and by any number of closes; nothing stays open.',
    'Connections would run out.',
    {
      schedules: of(c.append, c.openAndClose, c.openAndClose, c.openAborted, c.close, c.open),
    },
  ),
  rule('Y2', 'stochastic', 'An open ends, with a stream or an error.', 'A consumer would hang before it has begun.', {
    schedules: of(c.append, c.open, c.openFirst, c.openToHead, c.openFromHead, c.openTyped),
  }),
  rule(
    'Y3',
    'capability',
    'A server that is killed and started again is an error or goes unnoticed, and nothing is lost.',
    'A consumer would hang after a restart, or go on past lost events.',
    {
      needs: ['restart'],
      schedules: once(c.restart, c.append, c.open, c.openFirst, c.drain, c.run),
    },
  ),
  rule(
    'Y4',
    'capability',
    'A frozen server is an error of reads, opens and questions, in time, and keeps no stream from being closed.',
    'A consumer would stand still for hours, and look healthy.',
    {
      needs: ['freeze'],
      schedules: once(c.freeze, c.append, c.openFirst, c.open, c.drain),
    },
  ),
  rule(
    'Y5',
    'capability',
    'A connection that is cut is an error or goes unnoticed, and nothing is lost.',
    'A consumer would hang after a network fault.',
    {
      needs: ['cut'],
      schedules: of(c.append, c.open, c.openFirst, c.drain, c.cut),
    },
  ),
  rule(
    'Y6',
    'untested',
    'At most one batch is read ahead, and memory is bounded in events and bytes.',
    'A slow consumer would bring its process down.',
    {},
  ),
]
