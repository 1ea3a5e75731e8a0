import { cursorProperties } from './cursor-properties.ts'
import { loopProperties } from './loop-properties.ts'
import { type RunProperty, untested } from './run-property.ts'
import { superviseProperties } from './supervise-properties.ts'

/** The rules of a run loop and of a supervisor. */
export const runProperties: readonly RunProperty[] = [
  ...cursorProperties,
  ...loopProperties,
  ...superviseProperties,
  untested('L19', {
    title: 'What is read and not handled yet is bounded in bytes as well as in events.',
    why: 'Large payloads exhaust the memory of the process.',
  }),
  untested('L20', {
    title: 'A synchronous handler costs no await.',
    why: 'It would cost ten times the throughput.',
  }),
]
