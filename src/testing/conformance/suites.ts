import { OptionError } from '../../core/errors.ts'
import type { BridgeSubject } from '../bridge/bridge-subject.ts'
import { bridgeSuite } from '../bridge/bridge-suite.ts'
import type { CursorStoreSubject } from '../cursors/cursor-store-subject.ts'
import { cursorStoreSuite } from '../cursors/cursor-store-suite.ts'
import type { RunSubject } from '../run/run-subject.ts'
import { runSuite } from '../run/run-suite.ts'
import type { SinkSubject } from '../sink/sink-subject.ts'
import { sinkSuite } from '../sink/sink-suite.ts'
import type { SourceSubject } from '../source/source-subject.ts'
import { sourceSuite } from '../source/source-suite.ts'
import type { Suite } from './property.ts'

/** What `create` returns, by what is under test. */
export interface Subjects {
  readonly source: SourceSubject
  readonly cursors: CursorStoreSubject
  readonly sink: SinkSubject
  readonly run: RunSubject
  readonly bridge: BridgeSubject
}

/** What can be under test: a log that is read, a store of cursors, a destination, a run loop with its supervisor, a whole route. */
export type Kind = keyof Subjects

/** All suites. */
export const suites: { readonly [K in Kind]: Suite<Subjects[K]> } = {
  source: sourceSuite,
  cursors: cursorStoreSuite,
  sink: sinkSuite,
  run: runSuite,
  bridge: bridgeSuite,
}

/** The suite of a kind. Throws an `OptionError` if there is none. */
export function suiteOf(kind: string): Suite {
  if (Object.hasOwn(suites, kind)) return suites[kind as Kind] as Suite
  throw new OptionError(`expected one of ${Object.keys(suites).join(', ')}, but found ${JSON.stringify(kind)}`)
}
