import type { ServerProcess } from './server.ts'

/** The part of a container's handle that faults need. */
export interface ContainerHandle {
  inspect(): Promise<{ State: { Running: boolean; Pid: number } }>
  kill(options: { signal: string }): Promise<unknown>
  pause(): Promise<unknown>
  unpause(): Promise<unknown>
  start(): Promise<unknown>
  stop(options: { t: number }): Promise<unknown>
  wait(): Promise<unknown>
}

/**
 * Faults for the server in a container; `ready` resolves when it answers. `freeze` and `thaw` are requests to the engine:
 * the next call waits for them, and throws where they failed.
 */
export async function containerProcess(
  name: string,
  container: ContainerHandle,
  ready: () => Promise<unknown>,
): Promise<ServerProcess> {
  const state = async () => (await container.inspect()).State
  let pid = (await state()).Pid
  let last: Promise<unknown> = Promise.resolve()
  const next = (action: () => Promise<unknown>): Promise<void> => {
    const result = last.then(async () => {
      await action()
    })
    last = result.catch(() => {})
    return result
  }
  const request = (action: () => Promise<unknown>) => {
    const requested = last.then(action)
    requested.catch(() => {}) // thrown by the next call
    last = requested
  }
  const running = async () => {
    if (!(await state()).Running) throw new Error(`${name} is not running`)
  }
  return {
    get pid() {
      return pid
    },
    kill: () =>
      next(async () => {
        await running()
        await container.unpause().catch(() => {}) // the engine signals no paused container
        const gone = container.wait()
        await container.kill({ signal: 'SIGKILL' })
        await gone
      }),
    stop: () =>
      next(async () => {
        await running()
        await container.unpause().catch(() => {})
        await container.stop({ t: 20 })
      }),
    freeze: () => {
      request(() => container.pause())
    },
    thaw: () => {
      request(() => container.unpause())
    },
    start: () =>
      next(async () => {
        if ((await state()).Running) throw new Error(`${name} is already running`)
        await container.start()
        await ready()
        pid = (await state()).Pid
      }),
  }
}
