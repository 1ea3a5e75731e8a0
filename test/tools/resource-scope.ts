import { AsyncLocalStorage, createHook } from 'node:async_hooks'

/** Knows what was opened by code that ran in it, or that was called back by something of its, and is still open. */
export interface ResourceScope extends Disposable {
  /** Runs `work` in the scope. */
  run<T>(work: () => T): T
  /** Runs what a test itself does, which does not count, from within. */
  outside<T>(work: () => T): T
  /** Sockets, pipes, listeners and threads, and timers, unreferenced ones too: a line for each, with the calls that led to it. */
  open(): readonly string[]
}

/** What Node calls them. */
const COUNTED = new Set([
  ...['TCPWRAP', 'TLSWRAP', 'PIPEWRAP', 'UDPWRAP', 'TCPSERVERWRAP', 'PIPESERVERWRAP'],
  ...['GETADDRINFOREQWRAP', 'PROCESSWRAP', 'WORKER', 'MESSAGEPORT', 'FSEVENTWRAP', 'Timeout', 'Immediate'],
])

/**
 * Opens a scope. Other tests, clients of the test's own and the runner may open and close what they want meanwhile:
 * `process.getActiveResourcesInfo()` would count theirs too, and no unreferenced timer.
 */
export function resourceScope(): ResourceScope {
  const inside = new AsyncLocalStorage<true>()
  const resources = new Map<number, string>()
  const hook = createHook({
    init: (id, type) => {
      if (COUNTED.has(type) && inside.getStore()) resources.set(id, `${type} ${callers()}`)
    },
    destroy: (id) => {
      resources.delete(id)
    },
  }).enable()
  return {
    run: (work) => inside.run(true, work),
    outside: (work) => inside.exit(work),
    open: () => [...resources.values()],
    [Symbol.dispose]: () => {
      hook.disable()
    },
  }
}

/** The last calls before a resource was made, but for Node's own. */
function callers(): string {
  const before = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  const { stack = '' } = new Error()
  Error.stackTraceLimit = before
  const calls = stack.split('\n').slice(1)
  const told = calls.filter((call) => !call.includes('node:') && !call.includes('resource-scope.ts'))
  return told
    .slice(0, 4)
    .map((call) => call.trim())
    .join(' ')
}
