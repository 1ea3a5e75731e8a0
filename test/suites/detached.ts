import type { ServerProcess } from '../../src/testing/servers/index.ts'
import type { ServerFaults } from './source.ts'

/** A kill that is not waited for: a read that is pending fails before the process is seen to be gone. */
export function detached(process: ServerProcess): ServerFaults {
  let gone = Promise.resolve()
  return {
    kill: async () => {
      gone = process.kill()
    },
    start: async () => {
      await gone
      await process.start()
    },
    freeze: () => process.freeze(),
    thaw: () => process.thaw(),
  }
}
