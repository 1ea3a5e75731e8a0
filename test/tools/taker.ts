import type { Work, WorkConsumer } from '../../src/adapters/jetstream/index.ts'

/** Takes the next message; rejects if the iteration ends. */
export function taker(consumer: WorkConsumer): () => Promise<Work> {
  const iterator = consumer[Symbol.asyncIterator]()
  return async () => {
    const { done, value } = await iterator.next()
    if (done) throw new Error('the iteration has ended')
    return value
  }
}
