import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { bridgeCases } from './cases/bridge.ts'
import { grpcCases } from './cases/grpc.ts'
import { jetstreamCases } from './cases/jetstream.ts'
import { kafkaCases } from './cases/kafka.ts'
import { lifetimeCases } from './cases/lifetimes.ts'
import { manyCases } from './cases/many.ts'
import { mysqlCases } from './cases/mysql.ts'
import { observerCases } from './cases/observers.ts'
import { publishCases } from './cases/publish.ts'
import { redisCases } from './cases/redis.ts'
import { runLoop } from './cases/run-loop.ts'
import { scaleCases } from './cases/scale.ts'
import { sqliteCases } from './cases/sqlite.ts'
import type { Result } from './measure.ts'

const cases: Readonly<Record<string, (options: { readonly full: boolean }) => Promise<Result[]>>> = {
  run: runLoop,
  observers: observerCases,
  sqlite: sqliteCases,
  mysql: mysqlCases,
  redis: redisCases,
  kafka: kafkaCases,
  jetstream: jetstreamCases,
  grpc: grpcCases,
  publish: publishCases,
  bridge: bridgeCases,
  lifetimes: lifetimeCases,
  many: manyCases,
  scale: scaleCases,
}

const usage = `npm run bench [-- NAME...] [-- --json] [-- --full]

Measures ours against the bare client library, side by side in one run. NAME is one of: ${Object.keys(cases).join(', ')}.
--full: scale goes up to 10⁷ events, which takes minutes, some GB of disk, and 2 GB of memory for Redis; mysql reads 10⁶.`

function read(): { names: string[]; json: boolean; full: boolean; help: boolean } {
  try {
    const { values, positionals } = parseArgs({
      args: process.argv.slice(2).filter((argument) => argument !== '--'), // npm passes the second one on
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        full: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    const unknown = positionals.find((name) => cases[name] === undefined)
    if (unknown !== undefined) throw new Error(`there is no case ${unknown}`)
    return { names: positionals.length > 0 ? positionals : Object.keys(cases), ...values }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`)
    process.exit(2)
  }
}

const { names, json, full, help } = read()
if (help) {
  console.log(usage)
  process.exit(0)
}
console.error(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}`)
const results: Result[] = []
for (const name of names) {
  for (const result of (await cases[name]?.({ full })) ?? []) {
    results.push(result)
    const { ours, reference, referenceName, ratio, unit } = result
    const format = (value: number): string => value.toLocaleString('en', { maximumSignificantDigits: 3 })
    console.error(
      `${result.case.padEnd(40)} ${format(ours).padStart(12)} ${unit.padEnd(9)} ${ratio.toFixed(2).padStart(6)} × ${referenceName} (${format(reference)})`,
    )
  }
}
if (json) console.log(JSON.stringify(results))
