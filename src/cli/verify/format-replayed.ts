import { styleText } from 'node:util'
import { printable } from '../printable.ts'
import type { Replayed } from './message.ts'

/** A schedule that was played again, for people: its steps, and what it broke or that it holds now. */
export function formatReplayed(
  { of, property, title, steps, broken }: Replayed,
  { to, debug }: { readonly to: NodeJS.WriteStream; readonly debug: boolean },
): string {
  const lines = [
    `${property} of a ${of}${title === '' ? '' : `: ${title}`}`,
    ...steps.map((step, i) => `${String(i + 1).padStart(4)}. ${printable(step)}`),
  ]
  if (broken === undefined) return [...lines, styleText('green', `${property} holds now`, { stream: to })].join('\n')
  lines.push(styleText('red', printable(`${broken.property} broken: ${broken.message}`), { stream: to }))
  if (debug && broken.stack !== undefined) lines.push('Thrown:', ...broken.stack.split('\n').map(printable))
  return lines.join('\n')
}
