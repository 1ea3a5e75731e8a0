import { ReflexError } from '../../core/errors.ts'

/** The conformance suites. Throws a `ReflexError` that says what to install if fast-check, which is an optional peer, is missing. */
export async function loadConformance(): Promise<typeof import('../../testing/conformance/index.ts')> {
  try {
    return await import('../../testing/conformance/index.ts')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes("'fast-check'")) throw cause
    throw new ReflexError(
      'CLIENT_MISSING',
      'the package fast-check is needed to verify anything, but is not installed beside reflex-bridge: npm install --save-dev fast-check',
      { cause, retriable: false },
    )
  }
}
