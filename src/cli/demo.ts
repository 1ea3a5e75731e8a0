import { Command, InvalidArgumentError } from 'commander'
import { OptionError } from '../core/index.ts'
import { embeddedStage } from './demo/embedded-stage.ts'
import { type DemoAudit, type Progress, perform } from './demo/perform.ts'
import { serverStage } from './demo/server-stage.ts'

const KILLS = 3

/** `reflex-bridge demo`: shows the whole path under failures, and audits both ends. */
export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'Commit orders, forward their events, kill the bridge three times on the way, consume them, and audit both ends.\n' +
        'Needs no server: an SQLite event table is bridged into an embedded log.',
    )
    .option('--orders <n>', 'how many orders are committed', orderCount, 50_000)
    .option(
      '--servers',
      'from real MySQL into every real broker that there is an adapter for; starts those that no URL is given for',
    )
    .option(
      '--kill-brokers',
      'with --servers: kill each broker once too, and start it again on its data; all of them are started here',
      false,
    )
    .option('--json', 'print the audit as one last line of JSON', false)
    .addHelpText(
      'after',
      '\nExit code 1 when an event is lost, duplicated, reordered or made up.\n' +
        '\nExamples:\n  $ reflex-bridge demo --orders 5000\n  $ reflex-bridge demo --servers --kill-brokers',
    )
    .action(async ({ servers = false, ...options }: Omit<DemoOptions, 'signal'>) => {
      if (options.killBrokers && !servers)
        throw new OptionError('--kill-brokers needs --servers: without it there is no broker to kill')
      const interrupt = new AbortController()
      const onSignal = (): void => interrupt.abort()
      process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
      try {
        process.exitCode = await demo({ ...options, servers, signal: interrupt.signal })
      } catch (error) {
        if (!interrupt.signal.aborted) throw error
        console.error('interrupted: everything that was started has been ended')
        process.exitCode = 130
      } finally {
        process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal)
      }
    })
}

interface DemoOptions {
  readonly orders: number
  readonly servers: boolean
  readonly killBrokers: boolean
  readonly json: boolean
  readonly signal: AbortSignal
}

async function demo({ orders, servers, killBrokers, json, signal }: DemoOptions): Promise<0 | 1> {
  const print = (line: string): void => console.error(line)
  await using stage = servers ? await serverStage({ killBrokers, log: print, signal }) : await embeddedStage()
  print(
    `${stage.title}: ${number(orders)} orders from 2 processes, one transaction in ten rolled back, the bridge killed ${KILLS} times${killBrokers ? ', each broker once' : ''}`,
  )
  const progress = progressLine(orders, { killBrokers })
  const audit = await perform(stage, { orders, kills: KILLS, killBrokers, signal, onProgress: progress.show })
  progress.end()
  const clean = audit.targets.every(
    ({ lost, duplicated, reordered, phantom }) => lost + duplicated + reordered + phantom === 0,
  )
  for (const line of report(audit)) print(line)
  print(clean ? 'clean: nothing lost, duplicated or reordered' : 'NOT CLEAN: please report this, with the lines above')
  if (json) console.log(JSON.stringify(audit))
  return clean ? 0 : 1
}

function report({ committed, targets, seconds }: DemoAudit): string[] {
  const lines = [`committed ${number(committed)} events in ${seconds.toFixed(1)} s`]
  for (const { name, delivered, lost, duplicated, reordered, phantom } of targets) {
    lines.push(
      `${name.padEnd(9)} delivered ${number(delivered)}, lost ${lost}, duplicated in the log ${duplicated}, reordered per order ${reordered}, made up ${phantom}`,
    )
  }
  return lines
}

/** One line that is rewritten on a terminal; a line every two seconds elsewhere. */
function progressLine(
  orders: number,
  { killBrokers }: { killBrokers: boolean },
): { show(progress: Progress): void; end(): void } {
  const terminal = process.stderr.isTTY
  let shownAt = 0
  return {
    show: ({ committedOrders, delivered, kills, brokersKilled, failures, seconds }) => {
      const now = Date.now()
      if (now - shownAt < (terminal ? 100 : 2000)) return
      shownAt = now
      const targets = [...delivered].map(([name, count]) => `${name} ${number(count)}`).join(', ')
      const brokers = killBrokers ? `  brokers killed: ${brokersKilled.join(', ') || 'none yet'}` : ''
      const line = `${seconds.toFixed(0).padStart(3)} s  orders ${number(committedOrders)}/${number(orders)}  events delivered: ${targets}  bridge killed ${kills}×${brokers}  handler failed ${failures}×`
      process.stderr.write(terminal ? `\r\x1b[2K${line}` : `${line}\n`)
    },
    end: () => {
      if (terminal) process.stderr.write('\r\x1b[2K')
    },
  }
}

function number(n: number): string {
  return n.toLocaleString('en')
}

function orderCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 10_000_000) {
    throw new InvalidArgumentError(`expected a whole number from 1 to 10,000,000, but found ${text}`)
  }
  return count
}
