// A process that forwards a route until it is killed. Argument: a RouteAt as JSON. Sends the cursor of each checkpoint, and
// at last the code of the failure that ended it.
import { bridge } from '../../src/bridge/bridge.ts'
import { codeOf, supervise } from '../../src/core/index.ts'
import { openRoute, type RouteAt } from './real-route.ts'

process.on('disconnect', () => process.exit(1))
const route = openRoute(JSON.parse(process.argv[2] ?? '') as RouteAt)
const observer = { saved: (cursor: string) => void process.send?.({ cursor }) }
try {
  await supervise((o) => bridge(route.spec, o), { observer, minDelayMs: 10, maxDelayMs: 100 })
} catch (error) {
  process.send?.({ ended: codeOf(error) ?? String(error) }, () => process.exit(1))
}
