import { setTimeout as pause } from 'node:timers/promises'
import type { CursorStore } from '../../core/cursor.ts'
import { codeOf, messageOf } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Patience } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import { type Outcome, outcomeOf } from '../conformance/within.ts'
import type { CursorStoreCommand, Expectation } from './cursor-store-command.ts'
import type { CursorStoreSubject } from './cursor-store-subject.ts'

/** What is stored, as the model has it. */
interface Stored {
  readonly cursor: Cursor
  readonly reset: boolean
  readonly before: Cursor
  /** What was done last, whose rule is broken if it cannot be read. */
  readonly by: 'set' | 'same' | 'refused' | 'reset' | 'race' | 'restart'
}

const NOTHING: Stored = { cursor: '', reset: false, before: '', by: 'refused' }
const RULE_OF = { set: 'C2', same: 'C5', refused: 'C4', reset: 'C6', race: 'C8', restart: 'C12' } as const
const RETRY_EVERY_MS = 20

/** See `Suite.play`. */
export async function playCursorStore(
  subject: CursorStoreSubject,
  schedule: readonly CursorStoreCommand[],
  steps: Steps,
  { limitMs }: Patience,
): Promise<void> {
  const clients: CursorStore[] = [subject.cursors]
  if (subject.another !== undefined) clients.push(await subject.another())
  const model = new Map<string, Stored>()
  let races = 0
  const storedOf = (name: string): Stored => model.get(name) ?? NOTHING

  for (const command of schedule) {
    const touched = await obey(command)
    for (const name of new Set([...model.keys(), ...touched])) {
      // The others are there for every client if they are for one.
      const asked = touched.includes(name) ? clients.keys() : [0]
      for (const client of asked) checkFound(name, await get(client, name), client)
    }
  }

  /** Resolves with the names that it was about. */
  async function obey(command: CursorStoreCommand): Promise<readonly string[]> {
    switch (command.do) {
      case 'get': {
        steps.step(`${whose(command.client)} gets ${quoted(command.name)}`)
        const found = await get(command.client, command.name)
        steps.result(quoted(found))
        checkFound(command.name, found, command.client)
        return [command.name]
      }
      case 'set':
        return set(command.client, command.name, command.cursor, command.over)
      case 'setSame':
        return set(command.client, command.name, storedOf(command.name).cursor, command.over)
      case 'reset': {
        const { client, name, cursor } = command
        steps.step(`${whose(client)} resets ${quoted(name)} to ${quoted(cursor)}`)
        expectValue('C6', 'a reset', await settled(() => clientOf(client).reset(name, cursor)))
        model.set(name, { cursor, reset: true, before: storedOf(name).cursor, by: 'reset' })
        return [name]
      }
      case 'list':
        return list(command.client)
      case 'race':
        return race(command.name, command.count)
      case 'getAborted':
        return getAborted(command)
      case 'restart':
        if (subject.restart === undefined) return []
        steps.step('the server is killed and started again')
        await subject.restart()
        for (const name of model.keys()) model.set(name, { ...storedOf(name), by: 'restart' })
        return recover('C12')
      case 'cut':
        if (subject.cut === undefined) return []
        steps.step('all connections are cut')
        await subject.cut()
        return recover('C14')
      case 'freeze':
        return freeze()
    }
  }

  async function set(client: number, name: string, cursor: Cursor, over: Expectation): Promise<string[]> {
    const there = storedOf(name)
    const expected = expectation(there, over)
    steps.step(`${whose(client)} sets ${quoted(name)} to ${quoted(cursor)}, expecting ${quoted(expected)}`)
    const outcome = await settled(() => clientOf(client).set(name, cursor, expected))
    steps.result(inWords(outcome))
    if (cursor === there.cursor || expected === there.cursor) {
      const rule = !isPlain(name) ? 'C9' : cursor === there.cursor ? 'C5' : isPlain(cursor) ? 'C2' : 'C10'
      expectValue(rule, `a set over ${quoted(there.cursor)}, which is what it expected or sets,`, outcome)
      const by = cursor === there.cursor ? 'same' : 'set'
      // What was never set and is set to "" may be told by list or not; it is not known either way.
      model.set(name, { cursor, reset: false, before: there.cursor, by })
      return [name]
    }
    expectConflict('C4', outcome, { consumer: name, expected, actual: there.cursor, reset: there.reset })
    if (model.has(name)) model.set(name, { ...there, by: there.reset ? 'reset' : 'refused' })
    return [name]
  }

  async function list(client: number): Promise<string[]> {
    const store = clientOf(client)
    if (store.list === undefined) {
      steps.refused('list')
      return []
    }
    steps.step(`${whose(client)} lists all`)
    const outcome = await settled(() => (store as Required<CursorStore>).list())
    const found = expectValue('C7', 'a list', outcome)
    steps.result(`${found.size} consumers`)
    for (const [name, { cursor, by }] of model) {
      if ((found.get(name) ?? '') === cursor) continue
      const rule = isPlain(name) ? 'C7' : 'C9'
      const missing = found.has(name) ? `says ${quoted(found.get(name) ?? '')}` : 'lacks it'
      throw new Violation(
        rule,
        `expected the list to say that ${quoted(name)} is at ${quoted(cursor)} (the last thing done to it: ${by}), but it ${missing}`,
      )
    }
    for (const [name, cursor] of found) {
      if (cursor === '' || model.has(name)) continue
      throw new Violation(
        'C7',
        `expected the list to have what was set and reset, but it also has ${quoted(name)} at ${quoted(cursor)}`,
      )
    }
    return []
  }

  async function race(name: string, count: number): Promise<string[]> {
    const { cursor: expected } = storedOf(name)
    steps.step(`${count} sets of ${quoted(name)} at once, each expecting ${quoted(expected)}`)
    races++
    const wanted = Array.from({ length: count }, (_, i) => `race${races}w${i}`)
    const outcomes = await Promise.all(
      wanted.map((cursor, i) => settled(() => clientOf(i).set(name, cursor, expected))),
    )
    const won = wanted.filter((_, i) => outcomes[i]?.is === 'value')
    steps.result(won.length === 0 ? 'none wins' : `${won.map(quoted).join(' and ')} won`)
    if (won.length !== 1)
      throw new Violation(
        'C8',
        `of ${count} sets at once that expect the same, exactly one must win, but ${won.length} did: ${inWords(outcomes.find(({ is }) => is !== 'value') ?? { is: 'nothing' })}`,
      )
    const actual = won[0] as string
    for (const outcome of outcomes) {
      if (outcome.is !== 'value') expectConflict('C8', outcome, { consumer: name, expected, actual, reset: false })
    }
    model.set(name, { cursor: actual, reset: false, before: expected, by: 'race' })
    return [name]
  }

  async function getAborted({
    client,
    name,
    when,
  }: Extract<CursorStoreCommand, { do: 'getAborted' }>): Promise<string[]> {
    steps.step(
      `${whose(client)} gets ${quoted(name)} with a signal that aborts ${when === 'before' ? 'before' : 'meanwhile'}`,
    )
    const reason = new Error('enough')
    const controller = new AbortController()
    if (when === 'before') controller.abort(reason)
    const getting = settled(() => clientOf(client).get(name, { signal: controller.signal }))
    controller.abort(reason)
    const outcome = await getting
    steps.result(inWords(outcome))
    if (outcome.is === 'error' && outcome.error === reason) return []
    if (outcome.is === 'value' && when === 'during') {
      checkFound(name, outcome.value, client)
      return []
    }
    throw new Violation('C11', `expected a get to reject with the signal's reason, but it ${inWords(outcome)}`)
  }

  async function freeze(): Promise<string[]> {
    if (subject.freeze === undefined) return []
    steps.step('the server stands still; every client gets "p"')
    const thaw = await subject.freeze()
    let outcomes: Outcome<Cursor>[]
    try {
      outcomes = await Promise.all(
        clients.map((store) =>
          outcomeOf(
            start(() => store.get('p')),
            limitMs,
          ),
        ),
      )
    } finally {
      await thaw()
    }
    steps.result(`${outcomes.map(inWords).join('; ')}; the server goes on`)
    if (outcomes.some(({ is }) => is === 'nothing'))
      throw new Violation(
        'C13',
        `a get must reject within ${limitMs} ms where the server does not answer, but it still waits`,
      )
    return recover('C13')
  }

  /** A connection that was lost is an error, once or a few times; then there is another one. */
  async function recover(rule: string): Promise<string[]> {
    const deadline = performance.now() + 2 * limitMs
    for (const [client, store] of clients.entries()) {
      for (let tries = 1; ; tries++) {
        const outcome = await settled(() => store.get('p'))
        if (outcome.is === 'value') break
        if (performance.now() > deadline)
          throw new Violation(
            rule,
            `${whose(client)} must get on with a new connection, but get still ${inWords(outcome)}`,
          )
        if (tries > 2) await pause(RETRY_EVERY_MS)
      }
    }
    for (const [name] of model) for (const client of clients.keys()) checkFound(name, await get(client, name), client)
    return []
  }

  function checkFound(name: string, found: Cursor, client: number): void {
    const { cursor, by } = storedOf(name)
    if (found === cursor) return
    const other = [...model].find(([each, stored]) => each !== name && stored.cursor === found && found !== '')?.[0]
    const but = `${whose(client)} gets ${quoted(found)}${other === undefined ? '' : `, which was set for ${quoted(other)}`}`
    let rule: string = RULE_OF[by]
    if (!isPlain(name)) rule = 'C9'
    else if (other !== undefined) rule = 'C3'
    else if (!model.has(name)) rule = 'C1'
    else if (!isPlain(cursor)) rule = 'C10'
    throw new Violation(
      rule,
      `expected ${quoted(name)} to be at ${quoted(cursor)}${model.has(name) ? ` (the last thing done to it: ${by})` : ''}, but ${but}`,
    )
  }

  async function get(client: number, name: string): Promise<Cursor> {
    const rule = model.has(name) ? 'C2' : 'C1'
    return expectValue(rule, `a get of ${quoted(name)}`, await settled(() => clientOf(client).get(name)))
  }

  async function settled<T>(call: () => Promise<T>): Promise<Outcome<T>> {
    const outcome = await outcomeOf(start(call), limitMs)
    if (outcome.is === 'nothing')
      throw new Violation('C13', `every call must settle within ${limitMs} ms, but one still waits`)
    return outcome
  }

  function clientOf(client: number): CursorStore {
    return clients[client % clients.length] as CursorStore
  }
  function whose(client: number): string {
    return clients.length === 1 ? 'the client' : `client ${(client % clients.length) + 1}`
  }
}

/** What a call throws at once counts as a rejection. */
async function start<T>(call: () => Promise<T>): Promise<T> {
  return await call()
}

function expectation({ cursor, before }: Stored, over: Expectation): Cursor {
  switch (over) {
    case 'what is there':
      return cursor
    case '""':
      return ''
    case 'what was there':
      return before
    case 'what is there, and a space':
      return `${cursor} `
    case 'a zero, and what is there':
      return `0${cursor}`
  }
}

function expectValue<T>(rule: string, what: string, outcome: Outcome<T>): T {
  if (outcome.is === 'value') return outcome.value
  throw new Violation(rule, `expected ${what} to succeed, but it ${inWords(outcome)}`)
}

function expectConflict(
  rule: string,
  outcome: Outcome<unknown>,
  wanted: { readonly consumer: string; readonly expected: Cursor; readonly actual: Cursor; readonly reset: boolean },
): void {
  const but = (found: string): Violation =>
    new Violation(
      rule,
      `expected a set of ${quoted(wanted.consumer)} over ${quoted(wanted.expected)} to reject with CURSOR_CONFLICT, as ${quoted(wanted.actual)} is there, but ${found}`,
    )
  if (outcome.is !== 'error') throw but(`it ${inWords(outcome)}`)
  if (codeOf(outcome.error) !== 'CURSOR_CONFLICT') throw but(`it ${inWords(outcome)}`)
  for (const [member, value] of Object.entries(wanted)) {
    const found = (outcome.error as Readonly<Record<string, unknown>>)[member]
    if (found === value) continue
    const message = `the error's ${member} is ${JSON.stringify(found)} instead of ${quoted(String(value))}`
    if (member === 'reset') {
      throw new Violation('C6', `a conflict must tell whether an operator's reset wrote what is there, but ${message}`)
    }
    throw but(message)
  }
}

function inWords(outcome: Outcome<unknown>): string {
  if (outcome.is === 'value')
    return outcome.value === undefined ? 'succeeds' : `resolves with ${JSON.stringify(outcome.value)}`
  if (outcome.is === 'nothing') return 'does not settle'
  return `rejects with ${codeOf(outcome.error) ?? 'an error without code'}: ${messageOf(outcome.error).slice(0, 200)}`
}

/** Whether no store has difficulties with it. */
function isPlain(text: string): boolean {
  return /^[a-z0-9]{0,40}$/.test(text)
}

function quoted(text: string): string {
  return text.length > 60 ? `${JSON.stringify(text.slice(0, 40))}… (${text.length} characters)` : JSON.stringify(text)
}
