import { expect, test } from 'vitest'
import { publishGate } from '../../src/pubsub/publish-gate.ts'

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

test('whoever comes first goes on first, also where room is made in the very turn in which another comes', async () => {
  for (let left = 0; left < 8; left++) {
    for (let came = 0; came < 8; came++) {
      const gate = publishGate({ most: 10, mostBytes: 100 })
      await gate.enter(95, undefined)
      const order: string[] = []
      const enter = async (who: string, bytes: number): Promise<void> => {
        await gate.enter(bytes, undefined)
        order.push(who)
      }
      await Promise.all([
        enter('first', 50),
        turns(left).then(() => gate.leave(95)),
        turns(came).then(() => enter('second', 10)),
      ])
      expect(order, `left after ${left} turns, came after ${came}`).toEqual(['first', 'second'])
    }
  }
})
