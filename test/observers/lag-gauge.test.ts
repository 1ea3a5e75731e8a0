import { expect, test } from 'vitest'
import { lagGauge } from '../../src/observers/lag-gauge.ts'

const nothing = { backlog: undefined, oldestUnreadAt: undefined }

test('a process that takes over knows no lag until it could ask the source once', () => {
  const gauge = lagGauge()
  gauge.saw({ ...nothing, state: 'standby' }, 1_000_000)
  gauge.saw({ ...nothing, state: 'waiting' }, 1_001_000)
  expect(gauge.lagMs(1_002_000)).toBe(undefined)
  gauge.saw({ backlog: { count: 3n, unit: 'events' }, oldestUnreadAt: 1_000_500, state: 'running' }, 1_003_000)
  expect(gauge.lagMs(1_003_000)).toBe(2500)
})
