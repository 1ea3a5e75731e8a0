import fc from 'fast-check'
import type { LifePlan } from './run-command.ts'
import { maybe, often, type RunProperty, required } from './run-property.ts'
import {
  append,
  appendAged,
  appendLots,
  appendMany,
  awaited,
  faultOf,
  jump,
  meanwhileOf,
  members,
  recreate,
  runOf,
  scheduleOf,
  skip,
  supervisedOf,
  trim,
} from './run-schedules.ts'

const { endless, batch, handling, hooks, recover, types, filter } = members

/** How a run loop fails, ends, waits and cleans up. */
export const loopProperties: readonly RunProperty[] = [
  required('L3', {
    title:
      'The first error ends the run: nothing after it is handled, and it rejects with a RunError that names cause, event, stage, code and whether trying again can help.',
    why: 'A run that goes on after an error has skipped an event; one that hides the cause leaves nothing to act on.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          batch,
          handling,
          hooks,
          recover,
          handlerMs: fc.constantFrom(undefined, 1_500),
          fault: faultOf(
            ['handle', 'background', 'set', 'read', 'get', 'open', 'close', 'start', 'stop', 'filter'],
            ['refused', 'lost reply', 'late', 'refused, then abort'],
          ),
          filter,
        }),
        4,
      ),
      skip,
      trim,
      recreate,
    ),
  }),
  required('L8', {
    title:
      'The consumer is started before the cursor is read, and stopped exactly once if it was, after the last event.',
    why: 'A consumer that drops what an earlier run left half done, or finishes it, does so too late, and works twice; one that is not stopped leaks.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          hooks: fc.constant(true),
          handling,
          endless,
          fault: maybe(faultOf(['start', 'stop', 'get', 'open', 'read', 'handle', 'set', 'close'])),
        }),
      ),
    ),
  }),
  required('L10', {
    title: 'The handler is never called before it has returned.',
    why: 'Handlers rely on it: what they read, decide and write would interleave.',
    schedules: scheduleOf(
      3,
      often(append),
      runOf({
        handling: fc.constant('asynchronous'),
        handlerMs: fc.constantFrom(undefined, 3),
        batch,
        meanwhile: meanwhileOf(append),
      }),
    ),
  }),
  required('L11', {
    title:
      'An abort ends the run: the handler is told and waited for, its event counts if it succeeds, and what is thrown later is the error of the result.',
    why: 'A deployment that does not end is killed, and one that ends too early repeats or loses the event at hand.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          handling,
          endless,
          batch,
          hooks,
          recover,
          handlerMs: fc.constantFrom(undefined, 300),
          delayMs: fc.constantFrom(undefined, 5_000),
          fault: faultOf(
            ['handle', 'read', 'set', 'open', 'get', 'start', 'stop', 'background'],
            ['abort before', 'abort after', 'abort, refused'],
          ),
        }),
      ),
      runOf({
        endless,
        batch,
        fault: faultOf(['read', 'open', 'get'], ['abort, hangs', 'abort after']),
      }),
      runOf({ batch, delayMs: fc.constant(5_000), fault: faultOf(['read'], ['abort after']) }),
    ),
  }),
  required('L13', {
    title:
      'With toHead the run ends at what was the head at the start; without it, a stream that ends is STREAM_ENDED.',
    why: 'A job that ends early leaves events behind; a consumer that ends as if all was well is not started again.',
    schedules: scheduleOf(
      4,
      often(append),
      skip,
      often(
        runOf({
          endless,
          batch,
          handling,
          fault: maybe(faultOf(['read'], ['ends', 'refused'])),
          meanwhile: meanwhileOf(append),
        }),
      ),
    ),
  }),
  required('L16', {
    title: 'A synchronous run lets the event loop in at least every 10 ms.',
    why: 'Timers, health checks and heartbeats of the process starve.',
    schedules: scheduleOf(
      3,
      often(appendMany),
      appendLots,
      runOf({
        handlerMs: fc.constantFrom(3, 0.5, 12),
        batch: fc.constantFrom(200, 8, 1),
        types: fc.constantFrom<LifePlan['types'][]>(undefined, undefined, undefined, [1]),
        meanwhile: meanwhileOf(jump),
      }),
    ),
  }),
  required('L17', {
    title: 'At most one batch is read ahead, and one read is under way at a time.',
    why: 'A slow handler would have the log in memory.',
    schedules: scheduleOf(
      3,
      often(appendMany),
      runOf({ batch: fc.constantFrom(1, 2), handling: awaited, handlerMs: fc.constantFrom(undefined, 300) }),
    ),
  }),
  required('S16', {
    title:
      'With delayMs each event is that old when it is handled; neither a future timestamp nor a clock that is set delays it by more.',
    why: 'An event is handled before what it refers to is there, or one wrong clock stops the consumer for hours.',
    schedules: scheduleOf(
      4,
      often(appendAged),
      runOf({
        delayMs: fc.constantFrom(1_000, 5_000),
        batch,
        handling: awaited,
        endless,
        types,
        handlerMs: fc.constantFrom(undefined, 300),
        meanwhile: meanwhileOf(appendAged, jump),
      }),
      jump,
    ),
  }),
  required('Y1', {
    title: 'Whatever the end, the stream is closed, no timer and no listener is left, and nothing goes on.',
    why: 'A supervised run that leaks a connection at each restart takes the broker down.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          endless,
          handling,
          hooks,
          batch,
          delayMs: fc.constantFrom(undefined, 1_000),
          fault: maybe(faultOf(['get', 'open', 'read', 'set', 'close', 'start', 'stop', 'handle'])),
        }),
        4,
      ),
      supervisedOf({ fault: maybe(faultOf(['get', 'open', 'read', 'handle'], ['refused', 'abort after'])) }),
    ),
  }),
  required('L21', {
    title:
      'An option, a type or a name that cannot be honoured is refused with OPTION_INVALID, before anything is done.',
    why: 'A mistake of the program is retried for ever, or types that match nothing skip every event.',
    schedules: scheduleOf(
      2,
      append,
      runOf({ wrong: fc.constantFrom('delayMs', 'types', 'name'), hooks, handling: awaited }),
    ),
  }),
]
