import { codeOf } from '../core/errors.ts'

const wrongInput: ReadonlySet<string> = new Set([
  'CONFIG_INVALID',
  'CURSOR_INVALID',
  'FILE_MISSING',
  'OPTION_INVALID',
  'USAGE',
])

/** 2 for what the user has to write in another way, 1 for every other failure. */
export function exitCodeOf(error: unknown): 1 | 2 {
  return wrongInput.has(codeOf(error) ?? '') ? 2 : 1
}
