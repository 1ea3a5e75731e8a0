import { pathToFileURL } from 'node:url'
import { messageOf, OptionError } from '../../core/errors.ts'
import { nearest } from '../../service/config/nearest.ts'

/** What a module has to export. */
export interface SubjectModule {
  create(): unknown
  /** What is under test, if it says so; not checked. */
  readonly of?: unknown
}

/** A module that takes longer than this waits for something that does not come. */
const IMPORT_MS = 30_000

/**
 * Imports the module in `file`; `path` is what it is called in messages. Throws an `OptionError` that says what was expected and
 * what it exports.
 */
export async function importSubject(file: string, path: string): Promise<SubjectModule> {
  const timer = Promise.withResolvers<never>()
  const timeout = setTimeout(
    () => timer.reject(new Error(`its top-level await has not ended for ${IMPORT_MS / 1000} s`)),
    IMPORT_MS,
  )
  let found: Readonly<Record<string, unknown>>
  try {
    found = await Promise.race([import(pathToFileURL(file).href) as Promise<typeof found>, timer.promise])
  } catch (cause) {
    throw new OptionError(`${path} cannot be imported: ${describe(cause)}`, cause)
  } finally {
    clearTimeout(timeout)
  }
  // What a CommonJS module exports may all be in its default.
  const { create, of } =
    found['create'] === undefined ? { ...found, ...(found['default'] as object | undefined) } : found
  if (typeof create === 'function') return { create: create as () => unknown, of }
  const names = Object.keys(found)
  const exported = names.length === 0 ? 'it exports nothing' : `it exports ${names.join(', ')}`
  const meant = nearest('create', names)
  throw new OptionError(
    create === undefined
      ? `${path}: expected a function create that returns a fresh subject, like export function create() { … }, but ${exported}${
          meant === undefined ? '' : `: is ${meant} meant to be create?`
        }`
      : `${path}: expected create to be a function that returns a fresh subject, but it is ${create === null ? 'null' : `of type ${typeof create}`}`,
  )
}

/** A syntax error says where only in its stack. */
function describe(error: unknown): string {
  const message = messageOf(error).trim() || String(error)
  if (!(error instanceof SyntaxError)) return message
  const where = /^file:\S+:\d+$/m.exec(error.stack ?? '')?.[0] ?? /\S+:\d+$/m.exec(error.stack ?? '')?.[0]
  return where === undefined ? message : `${message} (${where})`
}
