import { expect, test } from 'vitest'
import { checkProperty } from '../../../src/testing/conformance/check-property.ts'
import { sourceSuite } from '../../../src/testing/source/source-suite.ts'
import { sourceCorrect } from '../../zoo/source-cases.ts'

test('every property but those that cannot be seen is tested', async () => {
  const tested = new Set<string>()
  for (const { create } of sourceCorrect) {
    for (const property of sourceSuite.properties) {
      const options = { runs: 1, seed: 1, timeLimitMs: 10_000, limitMs: 1000 }
      const { id, outcome } = await checkProperty(sourceSuite, property, create, options)
      if (outcome === 'passed') tested.add(id)
    }
  }
  const untested = sourceSuite.properties.filter(({ id }) => !tested.has(id))
  expect(untested.map(({ grade }) => grade)).toEqual(untested.map(() => 'untested'))
})
