import { afterAll, beforeAll } from 'vitest'
import { type Server, startServer } from '../../src/testing/servers/index.ts'

/** Servers of a test file's own: `own` shows metadata locks, `plain` does not where that needs a plugin. */
export interface ProofServers {
  own: Server
  plain: Server
}

/** Starts them before the tests, with `args` where one server is both. They are there in the tests, and not before. */
export function proofServers({ args = [] }: { readonly args?: readonly string[] } = {}): ProofServers {
  const older = process.env['REFLEX_BRIDGE_SERVERS'] === 'older'
  const servers = {} as ProofServers
  beforeAll(async () => {
    servers.plain = await startServer('mysql', { from: ['docker', 'native'], args: older ? [] : args })
    servers.own = older
      ? await startServer('mysql', { from: ['docker', 'native'], args: ['--plugin-load-add=metadata_lock_info'] })
      : servers.plain
  })
  afterAll(async () => {
    await servers.own[Symbol.asyncDispose]()
    await servers.plain[Symbol.asyncDispose]()
  })
  return servers
}
