import { describe, expect, it, onTestFinished } from 'vitest'
import type { CursorStore } from '../../src/core/cursor.ts'
import { FencedError } from '../../src/core/errors.ts'
import { leaseShare } from '../../src/core/lease-share.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import type { Sink } from '../../src/core/sink.ts'
import type { Source } from '../../src/core/stream.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import type { Endpoint } from '../../src/service/config/parse-endpoint.ts'
import type { ControlStore } from '../../src/service/config/scheme.ts'
import { openControl } from '../../src/service/control/open-control.ts'
import { whileStopped } from '../../src/service/control/while-stopped.ts'
import type { StandbyOptions } from '../../src/service/serve-route.ts'
import { type RunningRoute, startRoute } from '../../src/service/start-route.ts'

const endpoint = <T>(open: () => T): Endpoint<T> => ({
  name: 'memory',
  options: {},
  open: async () => ({ part: open(), [Symbol.asyncDispose]: async () => {} }),
  elsewhere: () => ({ problems: [] }) as never,
})

/** A sink in memory, which cannot be opened for as long as `fail` says why. */
function memorySink(fail: () => Error | undefined): {
  readonly sink: Sink
  readonly ids: string[]
  opened: () => number
} {
  const ids: string[] = []
  let opened = 0
  const sink: Sink = {
    name: 'memory',
    open: async ({ saved }) => {
      opened++
      const error = fail()
      if (error !== undefined) throw error
      return {
        resumeFrom: saved?.cursor ?? '',
        append: async (events) => {
          ids.push(...events.map(({ id }) => id))
          return String(ids.length)
        },
        [Symbol.asyncDispose]: async () => {},
      }
    },
  }
  return { sink, ids, opened: () => opened }
}

function route(
  sink: Sink,
  source: Source,
  { controls = memoryCursors(), leases }: { controls?: CursorStore; leases?: ControlStore['leases'] } = {},
): RouteConfig {
  const checkpoints = memoryCursors()
  return {
    name: 'orders',
    source: endpoint(() => source),
    sink: endpoint(() => sink),
    checkpoints: endpoint(() => checkpoints),
    control: endpoint((): ControlStore => ({ controls, prefix: '', ...(leases === undefined ? {} : { leases }) })),
    fromHead: false,
  } as RouteConfig
}

async function until(running: RunningRoute, state: string): Promise<void> {
  while ((await running.status()).state !== state) await new Promise((resolve) => setTimeout(resolve, 10))
}

function started(
  config: RouteConfig,
  standby?: StandbyOptions,
): { readonly running: RunningRoute; stop(): Promise<unknown> } {
  const ended = new AbortController()
  const running = startRoute(config, { signal: ended.signal, standby })
  const stop = (): Promise<unknown> => {
    ended.abort(new Error('stopped'))
    return running.ended
  }
  onTestFinished(() => void stop())
  return { running, stop }
}

it('a route in the pause after a failure obeys at once, and goes on at once when it is resumed', async () => {
  let failure: Error | undefined = new FencedError('another one') // the longest pause, 30 s
  const { sink, ids, opened } = memorySink(() => failure)
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const config = route(sink, log.source)
  const { running, stop } = started(config)
  await until(running, 'waiting')
  await using control = await openControl(config, { createTables: false, readOnly: false })
  await control.want('paused', { by: 'ann' })
  await until(running, 'paused')
  expect(opened()).toBe(1)
  while ((await control.read())?.obeyed === undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  failure = undefined
  await control.want('running', { by: 'ann' })
  await until(running, 'running')
  while (ids.length < 1) await new Promise((resolve) => setTimeout(resolve, 10))
  expect((await running.status()).owner).toBeUndefined()
  expect(await stop()).toEqual({ reason: 'aborted' })
})

it('an answer is given as well where an operator has changed his mind before it was seen, or the note was lost', async () => {
  const { sink } = memorySink(() => undefined)
  const kept = memoryCursors()
  let lose = true
  const controls: CursorStore = {
    ...kept,
    set: async (consumer, cursor, expected) => {
      if (lose && cursor.includes('obeyed')) {
        lose = false
        throw new Error('lost')
      }
      return kept.set(consumer, cursor, expected)
    },
  }
  const config = route(sink, memoryLog().source, { controls })
  const { running } = started(config)
  await until(running, 'running')
  await using control = await openControl(config, { createTables: false, readOnly: false })
  await control.want('paused', { by: 'ann' })
  await control.want('running', { by: 'ann' })
  while ((await control.read())?.obeyed === undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(lose).toBe(false)
  expect((await control.read())?.wanted).toBe('running')
})

it('a route does not start before it is known what is wanted of it, and goes on with what was known last', async () => {
  const { sink, ids, opened } = memorySink(() => undefined)
  const kept = memoryCursors()
  let down = true
  const controls: CursorStore = {
    ...kept,
    get: async (consumer, options) => {
      if (down) throw new Error('the store is down')
      return kept.get(consumer, options)
    },
  }
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const { running } = started(route(sink, log.source, { controls }))
  await until(running, 'waiting')
  expect((await running.status()).lastError).toMatchObject({ message: 'the store is down' })
  expect(opened()).toBe(0)
  down = false
  await until(running, 'running')
  down = true
  log.append({ type: 1, foreignId: 'b' })
  while (ids.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(opened()).toBe(1)
})

it('with standby, a process that stood still for longer than its lease lasts appends nothing more before it has it again', async () => {
  const log = memoryLog()
  let granted = 0n
  const done: string[] = []
  const leases: ControlStore['leases'] = {
    name: 'memory',
    get: async () => undefined,
    acquire: async (lease, { holder, ttlMs }) => {
      done.push(`${lease} to ${holder.split(':')[1]} for ${ttlMs}`)
      return { token: ++granted }
    },
    renew: async () => true,
    release: async () => {},
    createTable: () => {},
  }
  const { sink, ids } = memorySink(() => undefined)
  const slow: Sink = {
    ...sink,
    open: async (options) => {
      const writer = await sink.open(options)
      return {
        ...writer,
        append: (events, cursor) => {
          if (events.some(({ foreignId }) => foreignId === 'a')) {
            for (const end = performance.now() + 900; performance.now() < end; ); // no timer runs
            log.append({ type: 1, foreignId: 'b' })
          }
          done.push(...events.map(({ foreignId }) => foreignId))
          return writer.append(events, cursor)
        },
      }
    },
  }
  log.append({ type: 1, foreignId: 'a' })
  const { running } = started(route(slow, log.source, { leases }), { leaseMs: 1000, share: leaseShare() })
  while (ids.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
  const grant = `orders to ${process.pid} for 1000`
  expect(done).toEqual([grant, 'a', grant, 'b'])
  expect((await running.status()).owner).toContain(`:${process.pid}:`)
})

describe('what is done while a route is stopped, without standby', () => {
  const { signal } = new AbortController()
  const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10))
  /** What a process writes that runs the route as well: it looks at the record now and then, whatever its clock says. */
  async function otherProcess(config: RouteConfig, obeys: () => boolean): Promise<AsyncDisposable> {
    const control = await openControl(config, { createTables: false, readOnly: false })
    let ended = false
    const answering = (async () => {
      while (!ended) {
        const ask = (await control.read())?.ask
        if (ask !== undefined) await control.answer(ask.id, { by: 'p2', obeys: obeys() })
        await soon()
      }
    })()
    return {
      [Symbol.asyncDispose]: async () => {
        ended = true
        await answering
      },
    }
  }
  const stopped = async (config: RouteConfig): Promise<void> => {
    await using control = await openControl(config, { createTables: false, readOnly: false })
    await control.want('stopped', { by: 'ann' })
  }

  it('waits for every process that is alive, says for which, and not for one that ended', async () => {
    const { sink } = memorySink(() => undefined)
    const config = route(sink, memoryLog().source)
    const { running } = started(config)
    await until(running, 'running')
    let obeys = false
    await using _other = await otherProcess(config, () => obeys)
    await stopped(config)
    await until(running, 'stopped') // this one has obeyed
    const told: string[] = []
    let isDone = false
    const working = whileStopped(
      config,
      { signal, standby: undefined, createTables: false, onWait: (text) => told.push(text) },
      async () => {
        isDone = true
      },
    )
    const askedAt = performance.now()
    while (performance.now() - askedAt < 2000 || !told.some((text) => text.includes('p2'))) await soon()
    expect(isDone).toBe(false) // although one has obeyed, and everybody who is alive has answered
    obeys = true
    await working
    expect(isDone).toBe(true)
    expect(told[0]).toMatch(/^orders: waiting for every process that runs it/)
    expect(told).toContain('orders: waiting for p2 to stop')
    await using control = await openControl(config, { createTables: false, readOnly: false })
    const answers = (await control.read())?.ask?.answers ?? []
    expect(answers).toHaveLength(2) // both are alive
    expect(answers.every((answer) => answer.obeys)).toBe(true)
  })

  it('goes on where nobody is alive, and is refused once the route is wanted, or another command has asked', async () => {
    const { sink } = memorySink(() => undefined)
    const config = route(sink, memoryLog().source)
    await stopped(config)
    await using control = await openControl(config, { createTables: false, readOnly: false })
    await control.ask('earlier', 'stopped')
    await control.answer('earlier', { by: 'one that was killed', obeys: false })
    const options = { signal, standby: undefined, createTables: false }
    expect(await whileStopped(config, options, async () => 'done')).toBe('done')

    const meanwhile = async (change: () => Promise<unknown>): Promise<unknown> => {
      const onWait = (): void => void change()
      return whileStopped(config, { ...options, onWait }, async () => 'done').catch(({ message }: Error) => message)
    }
    expect(await meanwhile(() => control.ask('later', 'stopped'))).toMatch(/another command is at work on it/)
    expect(await meanwhile(() => control.want('running', { by: 'bob' }))).toMatch(/it is not stopped/)
  })
})
