// The thread in which a module runs that is verified: whatever it does there, the command line can tell.
import { setImmediate as turn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { OptionError } from '../../core/errors.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'
import type { PropertyResult } from '../../testing/conformance/check-property.ts'
import { testOf } from '../../testing/conformance/describe-failure.ts'
import type { Command, Property } from '../../testing/conformance/property.ts'
import type { Kind } from '../../testing/conformance/suites.ts'
import type { Finding } from './finding.ts'
import { importSubject } from './import-subject.ts'
import { loadConformance } from './load-conformance.ts'
import { cell, type Job, type Message } from './message.ts'
import { plainError } from './plain-error.ts'
import { replaySchedule } from './replay-schedule.ts'
import { watchedCreate } from './watched-create.ts'

const BEAT_MS = 100
/** A subject may take this long to be made even where the limit for what it does is less. In ms. */
const LEAST_PATIENCE_MS = 1000

const { job, cells } = workerData as { readonly job: Job; readonly cells: Int32Array }
const tell = (message: Message): void => parentPort?.postMessage(message)

// That Node's types are stripped, or its SQLite used, is no news.
const listeners = process.listeners('warning')
process.removeAllListeners('warning')
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') for (const each of listeners) each(warning)
})

const stopping = new AbortController()
const look = (): void => {
  if (Atomics.load(cells, cell.stop) === 1) stopping.abort()
}
setInterval(() => {
  Atomics.add(cells, cell.beats, 1)
  look()
}, BEAT_MS).unref()

try {
  await perform()
  await turn() // a rejection that nobody handles is told now
  tell({ is: 'done' })
} catch (error) {
  tell({ is: 'failed', error: plainError(error) })
}

async function perform(): Promise<void> {
  const { file, path, runs, seed, only, limitMs, timeLimitMs, token } = job
  const conformance = await loadConformance()
  const { suites, selectProperties, verify, parseToken } = conformance
  const replayed = token === undefined ? undefined : parseToken(token)
  const { create: given, of: said } = await importSubject(file, path)
  const of = kindOf(said, replayed?.of, Object.keys(suites))
  const create = watchedCreate(given, {
    of,
    patienceMs: Math.max(limitMs, LEAST_PATIENCE_MS),
    onSchedule: () => {
      Atomics.add(cells, cell.schedules, 1)
      look()
    },
    onStuck: (message) => tell({ is: 'stuck', message, schedules: Atomics.load(cells, cell.schedules) }),
  })
  if (replayed !== undefined) {
    tell({ is: 'loaded', of, ids: [replayed.property] })
    tell({ is: 'replayed', replayed: await replaySchedule(suites[of], create, { ...replayed, of, limitMs }) })
    return
  }
  const properties = selectProperties(of, only)
  tell({ is: 'loaded', of, ids: properties.map(({ id }) => id) })
  await verify({
    of,
    create: create as () => Promise<never>,
    runs,
    seed,
    only,
    limitMs,
    timeLimitMs,
    signal: stopping.signal,
    onProperty: ({ id, title, result }) => {
      if (result !== undefined) return tell({ is: 'found', finding: findingOf(of, result, conformance) })
      Atomics.store(cells, cell.schedules, 0)
      tell({ is: 'begun', id, title, grade: properties.find((each) => each.id === id)?.grade ?? 'required' })
    },
  })
}

/** What is under test: what was asked for, what the module says and what the token is of must not contradict each other. */
function kindOf(said: unknown, ofToken: string | undefined, kinds: readonly string[]): Kind {
  const { path, of: asked } = job
  if (said !== undefined && !kinds.includes(said as string))
    throw new OptionError(
      `${path}: expected the exported of to be one of ${kinds.join(', ')}, but found ${JSON.stringify(said) ?? typeof said}`,
    )
  if (asked !== undefined && said !== undefined && asked !== said)
    throw new OptionError(
      `--of ${asked} contradicts ${path}, which exports of = ${JSON.stringify(said)}: leave --of out`,
    )
  const of = asked ?? (said as Kind | undefined)
  if (ofToken === undefined) return of ?? 'source'
  if (!kinds.includes(ofToken))
    throw new OptionError(`the token is of a ${ofToken}, which there is not here: expected one of ${kinds.join(', ')}`)
  if (of !== undefined && of !== ofToken)
    throw new OptionError(
      `the token is of a ${ofToken}, but ${path} is a ${of}: copy the token of a failure of this module`,
    )
  return ofToken as Kind
}

function findingOf(
  of: Kind,
  { failure, ...result }: PropertyResult,
  { suites, describeFailure, formatToken, Violation }: Awaited<ReturnType<typeof loadConformance>>,
): Finding {
  if (failure === undefined) return result
  const { cause, ...told } = failure
  const { property, schedule } = failure
  const find = (id: string): Pick<Property<never, Command>, 'title' | 'why'> | undefined =>
    suites[of].properties.find((each) => each.id === id)
  const broken = find(property) ?? find(result.id) ?? { title: result.title, why: '' }
  return {
    ...result,
    failure: {
      ...told,
      message: maskPasswords(failure.message),
      steps: failure.steps.map(maskPasswords),
      rule: broken.title,
      why: broken.why,
      token: formatToken({ of, property, schedule }),
      test: testOf(of, property, schedule),
      text: maskPasswords(describeFailure(of, failure, broken)),
      stack: cause instanceof Violation ? undefined : plainError(cause).stack,
    },
  }
}
