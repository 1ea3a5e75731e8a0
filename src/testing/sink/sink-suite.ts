import fc from 'fast-check'
import type { Suite } from '../conformance/property.ts'
import { playSink } from './play-sink.ts'
import { type SinkCommand, sinkCommands } from './sink-command.ts'
import type { SinkSubject } from './sink-subject.ts'

const { append, appendMany, appendOlder, appendEmpty, appendEmptyOlder, appendBody, appendForwarded } = sinkCommands
const { appendBroken, appendOversize, open, openAborted, close, takeOver, race } = sinkCommands
const { loseTail, loseTailOpen, wipe, refuse, freeze, restart, cut, loseReplies, foreign } = sinkCommands

/** Schedules of these commands; the first one comes most often. Short, as each step may take a broker a tenth of a second. */
function some(
  often: fc.Arbitrary<SinkCommand>,
  ...others: readonly fc.Arbitrary<SinkCommand>[]
): fc.Arbitrary<readonly SinkCommand[]> {
  const weight = Math.max(1, others.length)
  const command = fc.oneof({ weight, arbitrary: often }, ...others)
  return fc.array(command, { minLength: 1, maxLength: 6 })
}

/** Schedules in which this happens after something was appended, and more may follow. */
function amid(
  what: fc.Arbitrary<SinkCommand>,
  ...others: readonly fc.Arbitrary<SinkCommand>[]
): fc.Arbitrary<readonly SinkCommand[]> {
  const before = fc.array(append, { minLength: 1, maxLength: 3 })
  const after = fc.array(fc.oneof(append, what, ...others), { maxLength: 3 })
  return fc.tuple(before, what, after).map(([before, what, after]) => [...before, what, ...after])
}

/** Schedules in which this happens once, since it takes its time. */
function once(what: fc.Arbitrary<SinkCommand>): fc.Arbitrary<readonly SinkCommand[]> {
  const some = fc.array(append, { maxLength: 2 })
  return fc.tuple(some, what, some).map(([before, what, after]) => [...before, what, ...after])
}

/** What every destination of a bridge is held against. */
export const sinkSuite: Suite<SinkSubject, SinkCommand> = {
  play: playSink,
  properties: [
    {
      id: 'B1',
      grade: 'required',
      title: 'No event is lost, however writers crash between an append and its checkpoint.',
      why: 'Consumers of the destination would never hear of what happened in the database.',
      schedules: fc.oneof(
        { weight: 3, arbitrary: some(append, open) },
        { weight: 1, arbitrary: fc.tuple(appendMany, open) },
      ),
    },
    {
      id: 'B3',
      grade: 'required',
      title: 'Events stand in the order of the source.',
      why: 'A consumer would see an order cancelled before it was placed.',
      schedules: some(append, open, takeOver),
    },
    {
      id: 'B5',
      grade: 'required',
      title: 'No event stands there twice.',
      why: 'What is counted or paid per event would be counted or paid twice.',
      option: 'effectively once',
      schedules: some(open, append),
    },
    {
      id: 'B6',
      grade: 'capability',
      title: 'Where the destination answers with an error, nothing is appended and nothing moves.',
      why: 'A bridge without permission, or against a quota, would pass over everything that it has not written.',
      needs: ['refuse'],
      schedules: amid(refuse),
    },
    {
      id: 'B7',
      grade: 'required',
      title: 'A batch with an event that cannot be written is rejected with EVENT_UNENCODABLE, all of it.',
      why: 'The rest would follow without it, or with it garbled, and nobody would know.',
      schedules: some(appendBroken, append),
    },
    {
      id: 'B8',
      grade: 'required',
      title: 'A writer appends nothing once a newer one has; two at the same time lose, repeat and reorder nothing.',
      why: 'A process that was taken for dead, and goes on, would write everything a second time.',
      option: 'effectively once',
      schedules: some(appendOlder, open, append, appendEmptyOlder, takeOver, race),
    },
    {
      id: 'B9',
      grade: 'capability',
      title: 'A tail that was lost is refilled, and the bridge says so.',
      why: 'A broker that was restored from an older copy would lack events for ever, and nobody would know.',
      needs: ['loseTail'],
      schedules: amid(loseTail, open),
    },
    {
      id: 'B12',
      grade: 'capability',
      title: 'An event that is too large is an error with a code, and nothing of its batch is appended.',
      why: 'It would be dropped, and what follows would hide that.',
      needs: ['oversize'],
      schedules: some(appendOversize, append),
    },
    {
      id: 'B15',
      grade: 'required',
      title: 'An event is read as it was appended, but for its id, and says from which source and id it comes.',
      why: 'A payload, a header or the key to find duplicates by would be lost on the way.',
      schedules: some(appendBody, appendForwarded, append),
    },
    {
      id: 'B16',
      grade: 'required',
      title:
        'A writer resumes at or before what is in the destination, not before what was saved, and has nothing to repair where nothing happened.',
      why: 'Events would be skipped, everything would be read again at each start, or an operator would be called for nothing.',
      schedules: some(append, open, appendEmpty),
    },
    {
      id: 'B17',
      grade: 'required',
      title: 'An empty batch moves the cursor and appends nothing.',
      why: 'The checkpoint of an idle route would fall off the log, as records that are filtered out are deleted.',
      schedules: some(appendEmpty, open, append),
    },
    {
      id: 'B18',
      grade: 'capability',
      title: 'A destination that lost everything is refilled and says so, or is refused.',
      why: 'It would begin in the middle, as if there had been nothing before.',
      needs: ['wipe'],
      schedules: amid(wipe, open),
    },
    {
      id: 'B19',
      grade: 'capability',
      title: 'A writer under which the tail is lost appends nothing more.',
      why: 'What it appends would follow a hole, which nobody would find any more.',
      needs: ['loseTail', 'losesWhileOpen'],
      schedules: amid(loseTailOpen, open),
    },
    {
      id: 'B20',
      grade: 'capability',
      title: 'What others append to the same destination changes nothing for the route.',
      why: 'Events would be taken for duplicates, or appended again, because of what has nothing to do with them.',
      needs: ['foreign'],
      schedules: amid(foreign, open),
    },
    {
      id: 'Y1',
      grade: 'required',
      title: 'A writer is closed any number of times.',
      why: 'A bridge that ends in two ways at once would fail at the end, or hang.',
      schedules: some(close, append),
    },
    {
      id: 'Y2',
      grade: 'required',
      title: "An open whose signal has aborted rejects with the signal's reason, and takes nothing over.",
      why: 'A bridge that is to stop would not, or would end the one that was started in its place.',
      schedules: amid(openAborted),
    },
    {
      id: 'Y3',
      grade: 'capability',
      title: 'A server that is killed and started again costs and repeats nothing.',
      why: 'What was under way would be lost, or stand there twice.',
      needs: ['restart'],
      schedules: amid(restart),
    },
    {
      id: 'Y6',
      grade: 'capability',
      title:
        'Where the destination stands still, an append and an open reject in time, and the next open finds out what became of them.',
      why: 'A bridge would hang where it should fail, and nobody would start it again.',
      needs: ['freeze'],
      schedules: once(freeze),
    },
    {
      id: 'Y7',
      grade: 'capability',
      title: 'Connections that are cut cost and repeat nothing.',
      why: 'What was under way would be lost, or stand there twice.',
      needs: ['cut'],
      schedules: amid(cut),
    },
    {
      id: 'Y8',
      grade: 'capability',
      title: 'An append whose reply is lost is an error in time, and the next open finds out what became of it.',
      why: 'It would be appended a second time, or be taken for done where it was not.',
      needs: ['loseReplies'],
      schedules: once(loseReplies),
    },
    {
      id: 'Y9',
      grade: 'capability',
      title: 'Writers that are closed, and opens that were aborted, leave no connection.',
      why: 'Each restart of a bridge would cost the server a connection, until it takes no more.',
      needs: ['connections'],
      schedules: amid(openAborted, open, close),
    },
  ],
}
