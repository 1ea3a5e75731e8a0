import { describe, expect, it } from 'vitest'
import { ReflexError, RunError } from '../../src/core/errors.ts'
import { describeError } from '../../src/service/describe-error.ts'

const refused = new AggregateError([
  new Error('connect ECONNREFUSED ::1:1'),
  new Error('connect ECONNREFUSED 127.0.0.1:1'),
])

describe('an error for people', () => {
  it('begins with what happened, and then says where', () => {
    const run = new RunError('handle', { consumer: 'orders', eventId: '7', cause: new Error('out of memory') })
    expect(describeError(run)).toBe('out of memory (stage handle, event 7)')
    expect(describeError(new RunError('open', { consumer: 'orders', cause: 'gone' }))).toBe('gone (stage open)')
    expect(describeError(new ReflexError('X', 'as it is'))).toBe('as it is')
    expect(describeError(new Error(''))).toBe('Error')
  })

  it('says why no address of a host could be connected to', () => {
    const why = 'connect ECONNREFUSED ::1:1, connect ECONNREFUSED 127.0.0.1:1'
    expect(describeError(refused)).toBe(why)
    expect(describeError(new ReflexError('X', 'no connection: ', { cause: refused }))).toBe(`no connection: ${why}`)
  })

  it('has the stacks of all causes when asked, but not what clients keep in their errors', () => {
    const cause = Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: ['hunter2'] } })
    const stack = describeError(new RunError('open', { consumer: 'orders', cause }), { stack: true })
    expect(stack).toMatch(/^RunError: .*\n {4}at [\s\S]*\ncaused by: Error: WRONGPASS\n {4}at /)
    expect(stack).not.toContain('hunter2')
  })

  it('masks the passwords of URLs', () => {
    const error = new Error('cannot open "redis://app:p@ss:w/rd@h:1/0" or sqlite:a?password=hunter2&b=1, rediss://:x@h')
    const masked = 'cannot open "redis://app:***@h:1/0" or sqlite:a?password=***&b=1, rediss://:***@h'
    expect(describeError(error)).toBe(masked)
    expect(describeError(error, { stack: true })).toContain(masked)
  })
})
