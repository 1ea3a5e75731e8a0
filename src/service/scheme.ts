import { z } from 'zod'
import type { CursorStore } from '../core/cursor.ts'
import type { Sink } from '../core/sink.ts'
import type { Source } from '../core/stream.ts'

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
  /** What a URL can be used as; what is absent is refused. */
  readonly roles: { readonly [R in RoleName]?: Role<Parts[R]> }
}

/** What the parts of a route are. */
export interface Parts {
  readonly source: Source
  readonly sink: Sink
  readonly checkpoints: CursorStore
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
}

/** One part of a route, open. Disposing it ends its connections. */
export interface Opened<T> extends AsyncDisposable {
  readonly part: T
  /** Creates what is missing. Absent where nothing needs to be created. */
  createTables?(): Promise<void>
  /**
   * Proves what reading the source's head or a checkpoint does not prove, without changing anything or taking anything over.
   * Resolves with what an operator should know all the same; rejects if this cannot be used.
   */
  check?(): Promise<readonly string[]>
}

/** Makes a role of the keys beside the URL (the first of them is `by`) and what opens it with them. */
export function role<T, Shape extends z.ZodRawShape>(
  shape: Shape,
  open: (location: Location, options: z.output<z.ZodObject<Shape>>, context: OpenContext) => Promise<Opened<T>>,
): Role<T> {
  const keys = z.strictObject(shape)
  return {
    keys,
    by: Object.keys(shape)[0] as string,
    open: (location, options, context) => open(location, options as z.output<z.ZodObject<Shape>>, context),
  }
}
