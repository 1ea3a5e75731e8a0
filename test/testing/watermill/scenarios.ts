import type { Event, NewEvent } from '../../../src/core/event.ts'
import { settlesWithin } from '../../../src/testing/conformance/within.ts'
import type { Subscription, Topic } from './pub-sub.ts'

/** What a scenario may do: each call of `topic` makes a fresh one. */
export interface ScenarioContext {
  topic(): Promise<Topic>
}

/**
 * Watermill's universal tests (pubsub/tests), written again: the same scenarios, sizes scaled down, and the same assertions,
 * which hold the *set* of what was received against the set of what was published, unless the test is about order.
 */
export const scenarios: Readonly<Record<string, (context: ScenarioContext) => Promise<void>>> = {
  TestPublishSubscribe: async ({ topic }) => {
    const on = await topic()
    const sent = messages(100)
    await on.publish(sent)
    const { received, subscription } = collect(on, 'group')
    await until(() => unique(received) === 100)
    for (const event of received) {
      const published = sent.find(({ foreignId }) => foreignId === event.foreignId)
      check(same(published?.metadata, event.metadata), 'the payload')
      check(event.headers['trace'] === published?.headers?.['trace'], 'the metadata')
    }
    await closeAll(subscription)
  },
  TestConcurrentSubscribe: async ({ topic }) => {
    const on = await topic()
    const all = Array.from({ length: 50 }, (_, i) => collect(on, `group ${i}`))
    await on.publish(messages(100))
    for (const { received } of all) await until(() => unique(received) === 100)
    await closeAll(...all.map(({ subscription }) => subscription))
  },
  TestConcurrentSubscribeMultipleTopics: async ({ topic }) => {
    const topics = await Promise.all(Array.from({ length: 20 }, topic))
    const all = topics.map((on) => collect(on, 'group'))
    await Promise.all(topics.map((on) => on.publish(messages(100))))
    for (const { received } of all) await until(() => unique(received) === 100)
    await closeAll(...all.map(({ subscription }) => subscription))
  },
  TestPublishSubscribeInOrder: async ({ topic }) => {
    const on = await topic()
    const sent = messages(1000).map((event, i) => ({ ...event, headers: { key: `k${i % 16}` } }))
    await on.publish(sent)
    const { received, subscription } = collect(on, 'group')
    await until(() => unique(received) === 1000)
    for (let key = 0; key < 16; key++) {
      const ofKey = (events: readonly NewEvent[]): string[] =>
        events.filter(({ headers }) => headers?.['key'] === `k${key}`).map(({ foreignId }) => foreignId)
      check(ofKey(received).join() === ofKey(sent).join(), `the order of k${key}`)
    }
    await closeAll(subscription)
  },
  TestResendOnError: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(100))
    const nacked = new Set<string>()
    const received: Event[] = []
    const subscription = on.subscribe('group', (event) => {
      if (nacked.size < 2 && !nacked.has(event.foreignId)) {
        nacked.add(event.foreignId)
        throw new Error('nack')
      }
      received.push(event)
    })
    await until(() => unique(received) === 100)
    await closeAll(subscription)
  },
  TestNoAck: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(2))
    const received: Event[] = []
    const acked = Promise.withResolvers<void>()
    const subscription = on.subscribe('group', async (event, signal) => {
      received.push(event)
      signal.addEventListener('abort', () => acked.resolve(), { once: true })
      await acked.promise
    })
    await until(() => received.length > 0)
    await turns()
    check(received.length === 1, 'only one message before the ack')
    acked.resolve()
    await until(() => unique(received) === 2)
    await closeAll(subscription)
  },
  TestContinueAfterSubscribeClose: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(500))
    const received: Event[] = []
    for (let rounds = 0; rounds < 10 && unique(received) < 500; rounds++) {
      const wanted = Math.min(500, unique(received) + 100)
      const part = collect(on, 'group', received)
      await until(() => unique(received) >= wanted)
      await closeAll(part.subscription)
    }
    check(unique(received) === 500, 'all messages over several subscriptions')
  },
  TestConcurrentClose: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(10))
    const { received, subscription } = collect(on, 'group')
    await until(() => unique(received) === 10)
    await closeAll(...Array.from({ length: 10 }, () => subscription))
  },
  TestContinueAfterErrors: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(50))
    const all = Array.from({ length: 3 }, (_, i) => {
      let nacks = 0
      const received: Event[] = []
      const subscription = on.subscribe(`group ${i}`, (event) => {
        if (nacks < 10) {
          nacks++
          throw new Error('nack')
        }
        received.push(event)
      })
      return { received, subscription }
    })
    for (const { received } of all) await until(() => unique(received) === 50)
    await closeAll(...all.map(({ subscription }) => subscription))
  },
  TestConsumerGroups: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(100))
    const [one, two] = [collect(on, 'one'), collect(on, 'two')]
    await until(() => unique(one.received) === 100 && unique(two.received) === 100)
    check(one.received.length === 100 && two.received.length === 100, 'each group has each message once')
    await closeAll(one.subscription, two.subscription)
  },
  TestPublisherClose: async ({ topic }) => {
    const on = await topic()
    for (let i = 0; i < 10; i++) await on.publish(messages(100, i * 100))
    const { received, subscription } = collect(on, 'group')
    await until(() => unique(received) === 1000)
    await closeAll(subscription)
  },
  TestTopic: async ({ topic }) => {
    const [one, two] = [await topic(), await topic()]
    await one.publish(messages(1))
    await two.publish(messages(1, 1))
    const [first, second] = [collect(one, 'group'), collect(two, 'group')]
    await until(() => first.received.length > 0 && second.received.length > 0)
    check(first.received[0]?.foreignId === 'm0' && second.received[0]?.foreignId === 'm1', 'topics do not leak')
    await closeAll(first.subscription, second.subscription)
  },
  TestMessageCtx: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(1))
    let seen: AbortSignal | undefined
    const subscription = on.subscribe('group', (_, signal) => {
      seen = signal
    })
    await until(() => seen !== undefined)
    check(seen?.aborted === false, 'the context is live in the handler')
    await closeAll(subscription)
    check(seen?.aborted === true, 'the context is cancelled in the end')
  },
  TestSubscribeCtx: async ({ topic }) => {
    const on = await topic()
    const { subscription } = collect(on, 'group')
    await turns()
    await closeAll(subscription)
  },
  TestNewSubscriberReceivesOldMessages: async ({ topic }) => {
    const on = await topic()
    await on.publish(messages(100))
    const first = collect(on, 'one')
    await until(() => unique(first.received) === 100)
    const second = collect(on, 'two')
    await until(() => unique(second.received) === 100)
    await closeAll(first.subscription, second.subscription)
  },
  TestReconnect: async ({ topic }) => {
    const on = await topic()
    if (on.restart === undefined) return // RestartServiceCommand is not given
    const { received, subscription } = collect(on, 'group')
    for (let third = 0; third < 3; third++) {
      await on.publish(messages(100, third * 100))
      if (third < 2) await on.restart()
    }
    await until(() => unique(received) === 300)
    await closeAll(subscription)
  },
}

const WITHIN_MS = 300

function messages(count: number, from = 0): NewEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    type: 1,
    foreignId: `m${from + i}`,
    metadata: Buffer.from(`payload ${from + i}`),
    headers: { trace: `t${from + i}` },
  }))
}

function collect(
  topic: Topic,
  group: string,
  received: Event[] = [],
): { readonly received: Event[]; readonly subscription: Subscription } {
  return { received, subscription: topic.subscribe(group, (event) => void received.push(event)) }
}

function unique(events: readonly Event[]): number {
  return new Set(events.map(({ foreignId }) => foreignId)).size
}

function same(a: Uint8Array | null | undefined, b: Uint8Array | null): boolean {
  return a != null && b !== null && Buffer.compare(a, b) === 0
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`expected ${what}`)
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + WITHIN_MS; !condition(); ) {
    if (performance.now() > deadline) throw new Error(`not within ${WITHIN_MS} ms`)
    await turns()
  }
}

async function closeAll(...subscriptions: readonly Subscription[]): Promise<void> {
  const closing = Promise.all(subscriptions.map((each) => each.close()))
  check(await settlesWithin(closing, WITHIN_MS), 'that subscribers can be closed')
}
