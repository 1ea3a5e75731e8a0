import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { correctCases, zooCases } from '../../zoo/cases.ts'
import type { ZooCase } from '../../zoo/zoo-case.ts'
import { type Topic, topicOf } from './pub-sub.ts'
import { scenarios } from './scenarios.ts'

/** Some bugs show only if they meet the right moment. */
const TIMING = 5

/** The first of Watermill's scenarios that finds the bug; undefined if none does. */
async function foundBy(zooCase: ZooCase): Promise<string | undefined> {
  for (const [name, scenario] of Object.entries(scenarios)) {
    const topics: Topic[] = []
    const topic = async (): Promise<Topic> => {
      const made = await topicOf(zooCase)
      topics.push(made)
      return made
    }
    try {
      await scenario({ topic })
    } catch {
      return name
    } finally {
      for (const each of topics) await each.close()
    }
  }
  return undefined
}

describe("Watermill's scenarios", () => {
  test('are sixteen', () => {
    expect(Object.keys(scenarios)).toHaveLength(16)
  })

  for (const zooCase of correctCases) {
    test(`pass on the correct ${zooCase.of}: ${zooCase.name}`, async () => {
      expect(await foundBy(zooCase)).toBeUndefined()
    })
  }

  test('find as much of the zoo as docs/verify.md says', { timeout: 240_000 }, async () => {
    let found = 0
    for (const zooCase of zooCases) if ((await foundBy(zooCase)) !== undefined) found++
    console.log(`Watermill's 16 scenarios find ${found} of ${zooCases.length} broken implementations`)
    const documented = /scenarios find (\d+) of the (\d+)/.exec(readFileSync('docs/verify.md', 'utf8'))
    expect(Number(documented?.[2])).toBe(zooCases.length)
    expect(Math.abs(Number(documented?.[1]) - found)).toBeLessThanOrEqual(TIMING)
  })
})
