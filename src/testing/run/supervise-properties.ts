import fc from 'fast-check'
import { maybe, often, type RunProperty, required } from './run-property.ts'
import {
  append,
  awaited,
  faultOf,
  meanwhileOf,
  members,
  recreate,
  reset,
  rewind,
  runOf,
  scheduleOf,
  scriptedOf,
  skip,
  supervisedOf,
  trim,
} from './run-schedules.ts'

const { endless, batch, handling } = members
const failures = faultOf(['get', 'open', 'read', 'set', 'handle'], ['refused', 'lost reply', 'late'])

/** When a supervisor starts again, and when it gives up. */
export const superviseProperties: readonly RunProperty[] = [
  required('V1', {
    title:
      'A supervisor starts again after each failure that may pass, one attempt at a time, and ends with the result of the last.',
    why: 'A consumer stays down after a broker restarted, or runs twice.',
    schedules: scheduleOf(
      4,
      often(append, 2),
      often(supervisedOf({ batch, handling, endless, fault: maybe(failures), meanwhile: meanwhileOf(append, skip) })),
      scriptedOf(['fails', 'throws', 'head']),
    ),
  }),
  required('V2', {
    title: 'It waits with exponential back-off and full jitter, from 100 ms to 30 s.',
    why: 'All consumers of a broker that comes back would start at the same moment, again and again.',
    schedules: scheduleOf(2, scriptedOf(['fails', 'throws'], { maxLength: 14 })),
  }),
  required('V3', {
    title: 'Progress, which is a saved cursor, takes the back-off to its start again.',
    why: 'A consumer that fails once a day would wait longer each day; one that saves nothing must not retry at full speed.',
    schedules: scheduleOf(3, append, scriptedOf(['fails'], { maxLength: 8 }), supervisedOf({ batch, fault: failures })),
  }),
  required('V4', {
    title: 'What trying again cannot mend is rejected at once.',
    why: 'A consumer that lost its place in the log would look alive, and retry for ever.',
    schedules: scheduleOf(
      5,
      often(append),
      scriptedOf(['fails', 'fails for good']),
      often(supervisedOf({ batch })),
      runOf({ batch }),
      trim,
      recreate,
      rewind,
    ),
  }),
  required('V5', {
    title:
      'After a conflict with another runner it waits longest, progress or not, and rejects with ANOTHER_RUNNER after the third in a row.',
    why: 'Two runners take the cursor from each other for ever, and handle everything twice.',
    schedules: scheduleOf(2, scriptedOf(['conflict', 'fenced', 'fails', 'reset'], { maxLength: 7 })),
  }),
  required('V6', {
    title: 'A reset by an operator is a restart at the new cursor, at once, and counts as no failure.',
    why: 'Who replays events in an emergency waits, or is told that another runner is alive.',
    schedules: scheduleOf(
      4,
      append,
      scriptedOf(['reset', 'fails', 'conflict'], { maxLength: 7 }),
      often(supervisedOf({ batch, handling: awaited, meanwhile: meanwhileOf(reset) })),
      runOf({ batch }),
    ),
  }),
  required('V7', {
    title: 'An abort ends the waiting at once with the last failure, and an attempt through its signal.',
    why: 'Stopping a service that cannot reach its broker takes as long as the back-off.',
    schedules: scheduleOf(
      2,
      scriptedOf(['fails', 'head', 'fails for good', 'conflict'], {
        abortAfterMs: fc.constantFrom(20, 130, 450, 10_000, 75_000),
      }),
    ),
  }),
  required('V8', {
    title: 'An attempt that has not settled graceMs after the abort is given up with GRACE_EXCEEDED.',
    why: 'A handler that hangs keeps the process alive until it is killed, and nobody is told.',
    schedules: scheduleOf(
      2,
      scriptedOf(['hangs', 'fails', 'head'], {
        maxLength: 3,
        deaf: fc.constantFrom(undefined, true),
        abortAfterMs: fc.constantFrom(20, 450, 40_000),
        graceMs: fc.constantFrom(4_000, 90_000),
      }),
    ),
  }),
]
