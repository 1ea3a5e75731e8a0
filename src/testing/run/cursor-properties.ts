import fc from 'fast-check'
import { maybe, often, type RunProperty, required } from './run-property.ts'
import {
  append,
  appendAged,
  appendMany,
  appendOne,
  awaited,
  bothOf,
  faultOf,
  jump,
  meanwhileOf,
  members,
  recreate,
  reset,
  rewind,
  runOf,
  scheduleOf,
  skip,
  trim,
} from './run-schedules.ts'

const { endless, batch, handling, hooks, recover, types, filter, fromHead } = members
const anyFault = faultOf(['set', 'handle', 'read', 'get', 'open', 'close'])

/** What a run loop does with the cursor, and so what is lost or repeated. */
export const cursorProperties: readonly RunProperty[] = [
  required('L1', {
    title: 'After any schedule of crashes, failures and aborts, every event has been handled at least once.',
    why: 'An event that is skipped is lost: an e-mail that is never sent, an order that is never shipped.',
    schedules: scheduleOf(
      7,
      often(append),
      often(runOf({ endless, batch, handling, fault: maybe(anyFault), meanwhile: meanwhileOf(append, skip) }), 4),
      runOf({ fromHead, types, filter, recover, fault: maybe(anyFault), meanwhile: meanwhileOf(append) }),
      skip,
      reset,
      trim,
      rewind,
      recreate,
    ),
  }),
  required('L2', {
    title: 'The cursor that is saved is never ahead of what is handled, or settled, at any step.',
    why: 'A crash right after such a save loses every event in between.',
    schedules: scheduleOf(
      5,
      often(append),
      often(runOf({ batch, handling, endless, fault: maybe(anyFault), meanwhile: meanwhileOf(append, skip) })),
      runOf({ handling, batch, fault: faultOf(['background', 'stop', 'handle', 'start']) }),
      skip,
    ),
  }),
  required('L4', {
    title: 'The event that failed is the first that is handled next time.',
    why: 'Otherwise a failure loses its event, or orders are handled in another order than they were made.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          batch,
          handling,
          filter,
          recover,
          fault: faultOf(['handle', 'background', 'filter'], ['refused', 'lost reply']),
        }),
      ),
    ),
  }),
  required('L5', {
    title:
      'No event is handled twice without a crash, a failed handler or a failed save; and the cursor is saved after each batch, so that few are after one.',
    why: 'Handlers that are not idempotent charge a customer twice; all of them do work twice.',
    schedules: scheduleOf(
      5,
      often(append),
      often(
        runOf({
          batch,
          handling,
          endless,
          fault: maybe(faultOf(['set', 'handle', 'read', 'stop'])),
          meanwhile: meanwhileOf(append),
        }),
      ),
      skip,
      reset,
    ),
  }),
  required('L6', {
    title:
      'A store that fails ends the run; nothing is saved after a save of unknown outcome, unless a fresh read shows it.',
    why: 'A run that goes on without its cursor repeats hours of work; a late save that arrives after the next one moves the cursor back.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          batch,
          handling,
          endless,
          fault: faultOf(['set', 'get'], ['refused', 'lost reply', 'late', 'abort, refused']),
        }),
      ),
    ),
  }),
  required('L7', {
    title:
      'On the way out, also after an abort or an error, what was handled is saved, once stop has been waited for; and the result names the cursor.',
    why: 'Every deployment would repeat what was handled since the last save.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        runOf({
          batch,
          handling,
          hooks,
          endless,
          fault: maybe(
            faultOf(
              ['handle', 'set', 'read', 'stop', 'background', 'close'],
              ['abort after', 'abort before', 'refused', 'abort, refused'],
            ),
          ),
          meanwhile: meanwhileOf(append),
        }),
      ),
    ),
  }),
  required('L9', {
    title: 'Filtered events, other types and positions that hold no event move the cursor, but are not handled.',
    why: 'The cursor of an idle consumer falls off the log by retention, and the consumer fails for good.',
    schedules: scheduleOf(
      5,
      often(append),
      often(skip),
      often(
        runOf({
          types,
          filter,
          batch,
          endless,
          handling: awaited,
          recover,
          fault: maybe(faultOf(['filter', 'handle'], ['refused'])),
          meanwhile: meanwhileOf(append, skip),
        }),
        4,
      ),
    ),
  }),
  required('L12', {
    title:
      'A runner that another one, or an operator, has overtaken moves the cursor neither back nor on: it compares and sets.',
    why: 'Two runners, as in every deployment that overlaps, would lose what the other has not handled yet.',
    schedules: scheduleOf(
      4,
      often(append),
      often(
        bothOf({
          batch,
          handling: awaited,
          endless,
          fault: maybe(faultOf(['set'], ['late', 'lost reply', 'refused'])),
          meanwhile: meanwhileOf(reset),
        }),
      ),
      runOf({ batch, handling, meanwhile: meanwhileOf(reset) }),
      reset,
    ),
  }),
  required('L14', {
    title: 'fromHead is used while no cursor is stored, and the pinned position is saved before anything is handled.',
    why: 'A restart before the first event would start at a later head, and skip what came in between.',
    schedules: scheduleOf(
      4,
      often(append),
      skip,
      often(
        runOf({
          fromHead: fc.constant(true),
          endless,
          batch,
          handling,
          fault: maybe(faultOf(['set', 'open', 'handle', 'read'])),
          meanwhile: fc.record({ at: fc.nat({ max: 6 }), what: appendOne }),
        }),
        4,
      ),
    ),
  }),
  required('L15', {
    title: 'A cursor is saved with the incarnation of its log, and one of an earlier log is an error.',
    why: 'After a topic was made anew, a cursor of the old one skips as many events of the new one.',
    schedules: scheduleOf(5, often(append), often(runOf({ batch })), recreate, rewind),
  }),
  required('L18', {
    title:
      'Within a long batch, and while what is at work in the background settles, the cursor is saved at least every second.',
    why: 'A crash in a slow batch, or in the night after the last event, repeats all of it.',
    schedules: fc.oneof(
      scheduleOf(
        3,
        often(appendMany),
        runOf({
          batch: fc.constant(16),
          handling: awaited,
          handlerMs: fc.constantFrom(300, 1_500, 999),
          meanwhile: meanwhileOf(jump),
        }),
        runOf({ batch, endless: fc.constant(true), handling: fc.constant('background') }),
      ),
      fc.tuple(
        appendAged,
        appendAged,
        runOf({ batch: fc.constant(16), delayMs: fc.constantFrom(5_000, 1_500), handling: awaited }),
      ),
    ),
  }),
  required('O4', {
    title:
      'What is handled is the log, repeated from a stored cursor on after each restart: no skip, no jump back, no other order.',
    why: 'A consumer that follows an entity through its events takes an old state for the new one.',
    schedules: scheduleOf(
      6,
      often(append),
      often(runOf({ batch, handling, endless, fault: maybe(anyFault), meanwhile: meanwhileOf(append, reset) }), 4),
      reset,
      skip,
    ),
  }),
]
