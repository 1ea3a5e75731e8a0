import { codeOf } from '../core/errors.ts'

const wrongInput: ReadonlySet<string> = new Set([
  'CONFIG_INVALID',
  'CURSOR_INVALID',
  'FILE_MISSING',
  'OPTION_INVALID',
  'USAGE',
])

/** 130 for what a signal has ended, as a shell has it, 2 for what the user has to write in another way, 1 for every other failure. */
export function exitCodeOf(error: unknown): 1 | 2 | 130 {
  const code = codeOf(error) ?? ''
  if (code === 'STOPPED') return 130
  return wrongInput.has(code) ? 2 : 1
}
