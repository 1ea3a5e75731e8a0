import { expect, test } from 'vitest'
import { subjectFilter } from '../../src/adapters/jetstream/subject-filter.ts'

test.each([
  ['2.10.29', ['a.>'], false],
  ['2.11.0', ['a.>'], true],
  ['2.14.4', ['a.>', 'b.*'], false],
  ['2.15.0', ['a.>', 'b.*'], true],
] as const)(
  'only a server whose consumers keep their place is given the filter: %s, %j',
  (version, subjects, given) => {
    const { asked, isWanted } = subjectFilter(subjects, version)
    expect(asked).toEqual(given ? subjects : undefined)
    expect(isWanted({ subject: 'a.b.c' })).toBe(true)
    if (!given) expect(isWanted({ subject: 'c.b' })).toBe(false)
  },
)

test('without subjects, everything is wanted of every server', () => {
  expect(subjectFilter(undefined, '2.9.0')).toMatchObject({ asked: undefined })
})
