import type { Kind } from '../../testing/conformance/suites.ts'
import type { Finding } from './finding.ts'
import type { PlainError } from './plain-error.ts'

/** What the thread is to do. */
export interface Job {
  /** Of the module, absolute. */
  readonly file: string
  /** As it was given, for messages. */
  readonly path: string
  readonly of?: Kind | undefined
  readonly runs: number
  readonly seed: number
  readonly only?: readonly string[] | undefined
  readonly limitMs: number
  readonly timeLimitMs?: number | undefined
  /** Play this schedule, and no other. */
  readonly token?: string | undefined
}

/** What is in the memory that both threads share: it can be read and written while the other one stands still. */
export const cell = {
  /** Schedules begun for the property under way. */
  schedules: 0,
  /** Turns of the event loop, one every 100 ms. */
  beats: 1,
  /** 1: no further schedule is to be begun. */
  stop: 2,
} as const

/** What the thread tells. */
export type Message =
  /** The module is imported; these are the properties to come. */
  | { readonly is: 'loaded'; readonly of: Kind; readonly ids: readonly string[] }
  | { readonly is: 'begun'; readonly id: string; readonly title: string; readonly grade: Finding['grade'] }
  | { readonly is: 'found'; readonly finding: Finding }
  | { readonly is: 'replayed'; readonly replayed: Replayed }
  /** The last one. */
  | { readonly is: 'done' }
  /** The last one: it cannot go on. */
  | { readonly is: 'failed'; readonly error: PlainError }
  /** The last one. */
  | Stuck

/** The subject under test hangs, or has ended the thread, where no property would tell. */
export interface Stuck {
  readonly is: 'stuck'
  readonly message: string
  /** That were begun for the property under way. */
  readonly schedules: number
}

/** What became of a schedule that was played again. */
export interface Replayed {
  readonly of: Kind
  /** The property that it broke once. */
  readonly property: string
  readonly title: string
  readonly steps: readonly string[]
  /** Not there if every property holds. */
  readonly broken?: { readonly property: string; readonly message: string; readonly stack?: string | undefined }
  readonly test: string
}
