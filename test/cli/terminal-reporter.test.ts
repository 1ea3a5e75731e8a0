import { describe, expect, it } from 'vitest'
import { terminalReporter } from '../../src/cli/run/terminal-reporter.ts'
import type { RouteStatus, RunningRoute } from '../../src/service/start-route.ts'

const idle: RouteStatus = {
  state: 'running',
  position: '7',
  saved: '7',
  backlog: { count: 1200n, unit: 'events' },
  blocked: undefined,
  oldestUnreadAt: undefined,
  handled: 1000,
  skipped: 0,
  lastEventAt: undefined,
  lastError: undefined,
  restarts: 0,
  repair: undefined,
}

function route(name: string, status: Partial<RouteStatus> = {}): RunningRoute {
  return { name, ended: new Promise(() => {}), status: async () => ({ ...idle, ...status }) }
}

/** A terminal that knows only what the reporter uses: up, return and erase below. Resolves `drawn` with what stands there. */
function terminal(columns: number, rows = 24) {
  let lines: string[] = ['']
  let row = 0
  let wanted: { readonly when: (screen: string) => boolean; readonly resolve: (screen: string) => void } | undefined
  const screen = (): string => lines.join('\n')
  return {
    columns,
    rows,
    write: (text: string): void => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
      for (const [, up, part = ''] of text.matchAll(/\x1b\[(\d+)A\r|((?:\x1b\[(?!\d+A)[\d;]*[A-Za-z]|[^\x1b])+)/g)) {
        if (up !== undefined) {
          row -= Number(up)
          lines[row] ??= ''
          continue
        }
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
        for (const [each] of part.matchAll(/\x1b\[[\d;]*[A-Za-z]|[^\x1b]/g)) {
          if (each === '\x1b[J') lines = [...lines.slice(0, row), '']
          else if (each === '\n') lines[++row] ??= ''
          else if (!each.startsWith('\x1b')) lines[row] += each
        }
      }
      if (wanted?.when(screen())) wanted.resolve(screen())
    },
    drawn: (when: (screen: string) => boolean): Promise<string> =>
      new Promise((resolve) => {
        wanted = { when, resolve }
        if (when(screen())) resolve(screen())
      }),
  }
}

describe('progress on a terminal', () => {
  it('is one live line per route below the log lines', async () => {
    const screen = terminal(120)
    await using reporter = terminalReporter(screen, { level: 'info' })
    const failure = new Error('connect ECONNREFUSED\nredis://app:hunter2@h')
    reporter.watch([
      route('orders', { oldestUnreadAt: Date.now() - 3 * 60_000 }),
      route('audit-log', { state: 'waiting', position: undefined, backlog: undefined, handled: 0, lastError: failure }),
    ])
    await screen.drawn((text) => text.includes('audit-log'))
    reporter.log('info', 'open after 7', { route: 'orders' })
    reporter.log('debug', 'not shown', { route: 'orders' })
    reporter.log('warn', 'trying again at redis://app:hunter2@h', { route: 'audit-log' })
    const shown = await screen.drawn((text) => text.includes('trying again'))
    expect(shown.split('\n')).toEqual([
      expect.stringMatching(/^\d\d:\d\d:\d\d orders: open after 7$/),
      expect.stringMatching(/^\d\d:\d\d:\d\d audit-log: trying again at redis:\/\/app:\*\*\*@h$/),
      'orders     running   at 7  1,000 events  0/s  backlog 1,200 events  oldest 3 min',
      'audit-log  waiting   0 events  0/s  last error: connect ECONNREFUSED\\nredis://app:***@h',
      '',
    ])
  })

  it('says what a source waits for, unless that is over in no time', async () => {
    const screen = terminal(120)
    await using reporter = terminalReporter(screen, { level: 'info' })
    const holder = 'connection 7'
    reporter.watch([
      route('orders', { backlog: undefined, blocked: { holder, blockedMs: 61_000 } }),
      route('users', { backlog: undefined, blocked: { holder, blockedMs: 900 } }),
    ])
    const shown = await screen.drawn((text) => text.includes('users'))
    expect(shown.split('\n').slice(0, 2)).toEqual([
      'orders  running   at 7  1,000 events  0/s  blocked 61 s by connection 7',
      'users   running   at 7  1,000 events  0/s',
    ])
  })

  it('shows the events per second', async () => {
    const screen = terminal(120)
    await using reporter = terminalReporter(screen, { level: 'info' })
    let handled = 0
    const status = async (): Promise<RouteStatus> => {
      handled += 1000
      return { ...idle, handled }
    }
    const busy: RunningRoute = { ...route('orders'), status }
    reporter.watch([busy])
    const shown = await screen.drawn((text) => /[1-9][\d,]*\/s/.test(text))
    const perSecond = Number(/([\d,]+)\/s/.exec(shown)?.[1]?.replaceAll(',', ''))
    expect(perSecond).toBeGreaterThan(0)
    expect(perSecond).toBeLessThanOrEqual(2000) // it is asked every half second, or later
  })

  it('never wraps and never scrolls', async () => {
    const screen = terminal(30, 4)
    await using reporter = terminalReporter(screen, { level: 'info' })
    reporter.watch(
      ['a', 'b', 'c', 'd', 'e'].map((name) => route(name, { lastError: new Error('a long one '.repeat(9)) })),
    )
    const shown = await screen.drawn((text) => text.includes('more'))
    const lines = shown.split('\n')
    expect(lines).toEqual([expect.stringMatching(/^a .*…$/), expect.stringMatching(/^b .*…$/), '… and 3 more', ''])
    for (const line of lines) expect(line.length).toBeLessThan(30)
  })
})
