import { ReflexError } from '../../core/errors.ts'

/** What `load` imports. Throws a `ReflexError` that says what to install if the package `name` is missing. */
export async function importClient<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new ReflexError(
      'CLIENT_MISSING',
      `the package ${name} is needed, but is not installed beside reflex-bridge: npm install ${name}`,
      { cause, retriable: false },
    )
  }
}
