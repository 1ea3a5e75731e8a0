import { expect, it } from 'vitest'
import { jetstreamPublisher } from '../../src/adapters/jetstream/index.ts'
import { publisher } from '../../src/pubsub/index.ts'
import { fakeNats, refusal } from '../jetstream/fake-nats.ts'

it.each([
  ['Permissions Violation for Publish to "s.1"', 'NATS_NO_PERMISSION'],
  ['503 no responders', 'NATS_NO_RESPONDERS'],
  // The message may have been stored: it is the answer that cannot be had.
  ['Permissions Violation for Subscription to "_INBOX.>"', 'OUTCOME_UNKNOWN'],
  ['User Authentication Expired', 'OUTCOME_UNKNOWN'],
  ['Maximum Payload Violation', 'OUTCOME_UNKNOWN'], // of another message: each is measured before it is sent
  ['maximum connections exceeded', 'OUTCOME_UNKNOWN'],
  ['timeout', 'OUTCOME_UNKNOWN'],
])('a publish that fails with %j is %s', async (message, code) => {
  const connect = async () => {
    const connection = await fakeNats('2.12.0', () => refusal(1))()
    return Object.assign(connection, { request: () => Promise.reject(new Error(message)) })
  }
  const { publish } = publisher({ to: jetstreamPublisher({ connect, stream: 's', subject: 's' }), client: 'test' })
  const error = await publish({}).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code })
})
