import {
  codeOf,
  combineObservers,
  isRetriable,
  ReflexError,
  type supervise,
  systemClock,
} from '../../src/core/index.ts'

/** A supervisor in its shortest form, with what is done wrong in it, or with nothing. */
export function miniSupervise(flaw?: SuperviseFlaw): typeof supervise {
  const is = (each: SuperviseFlaw): boolean => flaw === each
  return async (attempt, options = {}) => {
    const { signal, graceMs = 10_000, clock = systemClock, random = Math.random, observer } = options
    let failures = 0
    let duels = 0
    for (;;) {
      let progress = false
      const watch = combineObservers(observer, {
        saved: () => {
          progress = true
        },
      })
      let error: unknown
      try {
        const given = is('the attempt is not told of an abort') ? undefined : signal
        const first = is('an attempt that throws ends it')
          ? attempt({ signal: given, clock, observer: watch })
          : undefined
        const work = first ?? (async () => attempt({ signal: given, clock, observer: watch }))()
        return is('waits for an attempt that hangs') ? await work : await withinGrace(work)
      } catch (thrown) {
        error = thrown
        if (is('an attempt that throws ends it') && (thrown as Error)?.message === 'the attempt throws') throw thrown
      }
      if (!isRetriable(error) && !is('tries again what cannot be mended')) throw error
      if (signal?.aborted && !is('starts once more after the abort'))
        return is('hides the last failure when it is aborted') ? { reason: 'aborted' } : { reason: 'aborted', error }
      let delayMs = 0
      const cause = (error as { cause?: { reset?: unknown } }).cause
      const isReset = cause?.reset === true && !is('takes a reset for a duel')
      if (isReset && is('waits after a reset')) delayMs = 100
      if (isReset) {
        if (!is('a reset does not end the count')) {
          failures = 0
          duels = 0
        }
      } else {
        const duel = ['CURSOR_CONFLICT', 'FENCED'].includes(codeOf(error) ?? '')
        duels = duel ? duels + 1 : is('counts conflicts that are not in a row') ? duels : 0
        if (duels === 3 && !is('duels for ever'))
          throw new ReflexError('ANOTHER_RUNNER', 'another runner is alive', { cause: error, retriable: false })
        const back = progress && (!duel || is('progress ends a duel')) && !is('progress does not end the back-off')
        failures = back || is('takes every attempt for progress') ? 1 : failures + 1
        if (is('progress ends a duel') && progress) duels = 0
        if (is('gives up after five failures') && failures > 5) throw error
        const longest = is('waits for minutes') ? Number.POSITIVE_INFINITY : 30_000
        const cap = Math.min(longest, 100 * 2 ** (failures - 1))
        delayMs =
          duel && !is('fights a duel at full speed') ? 30_000 : (is('waits without jitter') ? 1 : random()) * cap
        if (is('waits as long each time')) delayMs = random() * 100
      }
      try {
        const deaf = is('sleeps through an abort') || (is('starts once more after the abort') && signal?.aborted)
        await clock.sleep(delayMs, deaf ? undefined : signal)
      } catch {
        return { reason: 'aborted', error }
      }
      if (is('sleeps through an abort') && signal?.aborted) return { reason: 'aborted', error }
    }

    async function withinGrace<T>(work: Promise<T>): Promise<T> {
      if (signal === undefined) return work
      const settled = new AbortController()
      const late = Promise.withResolvers<never>()
      const onAbort = (): void => {
        const ms = is('an abort is the end of its patience') ? 0 : graceMs
        clock.sleep(ms, settled.signal).then(
          () => late.reject(new ReflexError('GRACE_EXCEEDED', 'it has not settled', { retriable: false })),
          () => {},
        )
      }
      if (is('limits each attempt in time') || signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      try {
        return await Promise.race([work, late.promise])
      } finally {
        if (!is('leaves a timer after the abort')) settled.abort()
        if (!is('leaves its listener on the signal')) signal.removeEventListener('abort', onAbort)
      }
    }
  }
}

/** What is easily done wrong in a supervisor; with where it is known from. */
export const superviseFlaws = {
  'waits without jitter': 'Supervise',
  'waits as long each time': 'Supervise',
  'waits for minutes': 'Supervise',
  'progress does not end the back-off': 'Supervise',
  'takes every attempt for progress': 'Supervise',
  'tries again what cannot be mended': 'clients that retry by themselves',
  'an attempt that throws ends it': 'Supervise',
  'gives up after five failures': 'kafkajs retries',
  'duels for ever': 'luno/reflex',
  'fights a duel at full speed': 'luno/reflex',
  'progress ends a duel': 'Supervise',
  'counts conflicts that are not in a row': 'Supervise',
  'takes a reset for a duel': 'Supervise',
  'waits after a reset': 'Supervise',
  'a reset does not end the count': 'Supervise',
  'sleeps through an abort': 'docs/rules.md, rule 6',
  'starts once more after the abort': 'docs/rules.md, rule 6',
  'hides the last failure when it is aborted': 'docs/rules.md, rule 6',
  'the attempt is not told of an abort': 'docs/rules.md, rule 6',
  'waits for an attempt that hangs': 'luno/reflex: no timeouts anywhere',
  'an abort is the end of its patience': 'docs/rules.md, rule 6',
  'limits each attempt in time': 'Supervise',
  'leaves its listener on the signal': 'docs/rules.md, rule 6',
  'leaves a timer after the abort': 'docs/rules.md, rule 6',
} as const
export type SuperviseFlaw = keyof typeof superviseFlaws
