import { bridge } from '../../src/bridge/bridge.ts'
import { loadConfig } from '../../src/service/config/load-config.ts'
import { openRoute } from '../../src/service/open-route.ts'

/** Forwards what is there in each route of a configuration, as `run --once --create-tables` does, without a process of its own. */
export async function forwardAll(path: string): Promise<void> {
  const { routes } = await loadConfig(path, {})
  for (const route of routes) {
    await using open = await openRoute(route, { createTables: true, readOnly: false })
    await open.createTables()
    await bridge({ name: route.name, transform: route.transform, ...open }, { toHead: true, fromHead: route.fromHead })
  }
}
