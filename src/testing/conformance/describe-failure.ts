import type { Failure } from './check-property.ts'
import type { Command, Property } from './property.ts'
import { formatToken } from './token.ts'

/** A failure for people: what broke and why it matters, the steps, the token, and a test to copy. */
export function describeFailure(
  of: string,
  failure: Failure,
  { title, why }: Pick<Property<object, Command>, 'title' | 'why'>,
): string {
  const { property, message, steps, schedule, seed, foundWith } = failure
  const shrunk = foundWith > schedule.length ? `, shrunk from ${foundWith}` : ''
  return [
    `${property} broken: ${message}`,
    `The rule: ${title}`,
    `Why it matters: ${why}`,
    '',
    `After these steps (${schedule.length} commands${shrunk}):`,
    ...steps.map((step, i) => `${String(i + 1).padStart(4)}. ${step}`),
    '',
    `Replay: ${formatToken({ of, property, schedule })}`,
    `Seed: ${seed}`,
    'As a test:',
    ...testOf(of, property, schedule)
      .split('\n')
      .map((line) => `    ${line}`),
  ].join('\n')
}

/** The schedule as a test in TypeScript, to be copied beside the `create` of the subject. */
export function testOf(of: string, property: string, schedule: readonly Command[]): string {
  const kind = of === 'source' ? '' : `of: '${of}', `
  return [
    `test('${property} holds', async () => {`,
    `  await replay({ ${kind}create, schedule: [`,
    ...schedule.map((command) => `    ${literal(command)},`),
    '  ] })',
    '})',
  ].join('\n')
}

function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    return `{ ${members.map(([name, member]) => `${/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name)}: ${literal(member)}`).join(', ')} }`
  }
  return JSON.stringify(value)
}
