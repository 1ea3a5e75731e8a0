import { z } from 'zod'
import type { DeadLetters } from '../../bridge/dead-letters.ts'
import type { CursorStore } from '../../core/cursor.ts'
import type { Leases } from '../../core/lease.ts'
import type { Notifier } from '../../core/notifier.ts'
import type { Sink } from '../../core/sink.ts'
import type { Source } from '../../core/stream.ts'
import type { PurgeOptions, PurgeResult } from '../../sql/purge-table.ts'
import type { RewriteLetters } from '../../sql/rewrite-letters.ts'

/**
 * What a kind of URL stands for, and what can be opened there. One file each in `schemes/`, listed in `schemes.ts`: a new
 * broker is one more file.
 */
export interface Scheme {
  /** With the colon, as `URL.protocol` has it. */
  readonly protocols: readonly string[]
  /** The URL's form, for errors and help. */
  readonly form: string
  /** The location in one form, complete but for the password. Throws a RangeError that says what was expected, and quotes no password. */
  name(location: Location): string
  /** Its source hears a notifier (`OpenContext.notifier`). Default: false. */
  readonly hearsNotifier?: boolean | undefined
  /** What a URL can be used as; what is absent is refused. */
  readonly roles: { readonly [R in RoleName]?: Role<Parts[R]> }
}

/** What the parts of a route are. */
export interface Parts {
  readonly source: Source
  readonly sink: Sink
  readonly checkpoints: CursorStore
  /** Opened where the checkpoints are, with the same keys. */
  readonly control: ControlStore
  readonly deadLetters: DeadLetters
  /** What tells a source that there is something new. */
  readonly notifier: Notifier
}

/** What steers the routes whose checkpoints are kept at a place: it is kept beside them, where every process of a route sees it. */
export interface ControlStore {
  /** What operators want of routes, one record each. `Opened.createTables` creates it. */
  readonly controls: CursorStore
  /** For standby. Absent where there is no clock that leases could go by. */
  readonly leases?: Leases & { createTable(): void | Promise<void> }
  /** Stands before a route's name in both: two routes of one name may have their checkpoints in two tables of a database. */
  readonly prefix: string
}

/** The part of a route that a URL is used as. */
export type RoleName = keyof Parts

/** A URL as it was given, and what it is read with. */
export interface Location {
  /** Without a query. */
  readonly url: string
  /** Relative paths are relative to this folder. */
  readonly folder: string
}

/** How a URL is opened as one part of a route. */
export interface Role<T> {
  /** The keys that stand beside `url`. */
  readonly keys: z.ZodObject
  /** The key that tells one log, or store, at a location from the others: `table`, `key`. */
  readonly by: string
  /** Opens it with the options that `keys` made. */
  open(location: Location, options: unknown, context: OpenContext): Promise<Opened<T>>
}

/** What has to be known to open a part. */
export interface OpenContext {
  /** Whether what is missing will be created: if not, a missing file is an error. */
  readonly createTables: boolean
  /** Nothing will be written, not even to prepare for writing. */
  readonly readOnly: boolean
  /** Is told what an operator should know while the part is in use, for example who holds it up. Must not throw. */
  readonly note?: ((text: string) => void) | undefined
  /** Of a source: wakes it when there is something new. Default: none, it looks for itself. */
  readonly notifier?: Notifier | undefined
}

/** What is wrong with a part of a route. */
export interface CheckFinding {
  /** `error`: it cannot be used as it is. */
  readonly severity: 'error' | 'warning'
  /** What was found, and why it matters. */
  readonly text: string
  /** What mends it, to be run in this order by someone who may. */
  readonly statements: readonly string[]
}

/** One part of a route, open. Disposing it ends its connections. */
export interface Opened<T> extends AsyncDisposable {
  readonly part: T
  /** Creates what is missing. Absent where nothing needs to be created. */
  createTables?(): Promise<void>
  /**
   * Proves what reading the source's head or a checkpoint does not prove, without changing anything or taking anything over.
   * Resolves with what an operator should know, text being a warning; rejects if this cannot be used.
   */
  check?(): Promise<readonly (string | CheckFinding)[]>
  /** Of a destination: what was forwarded, read back: one source for each unit that keeps an order of its own. */
  readBack?(options: { readonly signal: AbortSignal }): Promise<readonly Source[]>
  /** Of a source: deletes events that every consumer has read. Absent where that is not done by this package. */
  purge?(options: PurgeOptions): Promise<PurgeResult>
  /**
   * Of dead letters: what writes their events to this source anew, and resolves them, in one transaction; undefined if the source is at
   * another place, where there is none.
   */
  rewriter?(source: {
    readonly name: string
    readonly options: Readonly<Record<string, unknown>>
  }): RewriteLetters | undefined
}

/**
 * Makes a role of the keys beside the URL (the first of them is `by`) and what opens it with them. `check` adds to the context what is
 * wrong with several keys together.
 */
export function role<T, Shape extends z.ZodRawShape>(
  shape: Shape,
  open: (location: Location, options: z.output<z.ZodObject<Shape>>, context: OpenContext) => Promise<Opened<T>>,
  check: (options: z.output<z.ZodObject<Shape>>, context: z.RefinementCtx) => void = () => {},
): Role<T> {
  const keys = z
    .strictObject(shape)
    .superRefine((options, context) => check(options as z.output<z.ZodObject<Shape>>, context))
  return {
    keys,
    by: Object.keys(shape)[0] as string,
    open: (location, options, context) => open(location, options as z.output<z.ZodObject<Shape>>, context),
  }
}
