import fc from 'fast-check'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { type Delivery, decodeMessage, headerBlock } from '../../src/adapters/jetstream/codec.ts'
import { encodeMessage, headerLines, withHeaders } from '../../src/adapters/jetstream/encode-message.ts'
import { headerText } from '../../src/adapters/jetstream/header-text.ts'
import type { NatsMessage } from '../../src/adapters/jetstream/nats-client.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { type ClientName, clientNames, connector } from './fixture.ts'

/** Sends headers and a payload through the server and gives the message as the client has it. */
async function echo(client: ClientName): Promise<(headers: Uint8Array, data: Uint8Array) => Promise<NatsMessage>> {
  const connection = await connector(client, inject('servers').nats.url)()
  onTestFinished(() => connection.close())
  const subject = fresh('echo')
  let received = Promise.withResolvers<NatsMessage>()
  connection.subscribe(subject, {
    callback: (error, message) => (error ? received.reject(error) : received.resolve(message)),
  })
  return async (headers, data) => {
    received = Promise.withResolvers()
    connection.publish(subject, data, { headers: { encode: () => headers } } as object)
    return received.promise
  }
}

const delivered = (message: NatsMessage): Delivery => ({ seq: 7n, time: '1767225600000125000', isLast: false, message })

/** What is decoded; of several faults, any one may be told. */
function outcome(decode: () => unknown): unknown {
  try {
    return decode()
  } catch {
    return 'refused'
  }
}
/** Where only the client's own headers can be had. */
const slowly = ({ subject, data, headers }: NatsMessage) => decodeMessage(delivered({ subject, data, headers }))

const ours = ['reflex-source', 'reflex-source-id', 'reflex-type', 'reflex-foreign-id', 'reflex-timestamp']
/** Headers of ours, as they are to be. */
const valid = ['s', '1', '2', 'f', '2026-01-01T00:00:00.5Z'].map((each, i) => `${ours[i]}: ${each}`)

describe.each(clientNames)('%s', (client) => {
  test('an event as the sink writes it is read from the bytes of its headers, and is what the client would have said', async () => {
    const send = await echo(client)
    await fc.assert(
      fc.asyncProperty(arbitraryEvent(), fc.boolean(), async (body, isFirst) => {
        const event = { ...body, id: '5@x' }
        const own = { 'Nats-Batch-Id': 'a', ...(isFirst ? { 'Nats-Expected-Last-Subject-Sequence': '4' } : {}) }
        const { headers, data } = withHeaders(
          encodeMessage(event, { subject: 'p.1', source: 'shop' }),
          headerLines(own),
        )
        const message = await send(headers, data)
        expect(headerText(message)).toBeDefined()
        const decoded = decodeMessage(delivered(message))
        expect(comparable(decoded)).toEqual(comparable(event))
        expect(decoded).toEqual(slowly(message))
      }),
      { numRuns: 200 },
    )
  })

  test.each<[string, readonly string[], readonly string[]]>([
    ['a type that is not written as a number is', ['reflex-type: 2'], ['reflex-type: 07']],
    ['a type that is none', ['reflex-type: 2'], ['reflex-type: x']],
    ['text that is not percent-encoded', ['x: 1'], ['x: ü']],
    ['a foreignId that is not', ['reflex-foreign-id: f'], ['reflex-foreign-id: ü']],
    ['a null that comes late', ['x: 1'], ['x: 1', 'reflex-null: 1']],
    ['one of ours that comes twice', ['x: 1'], ['x: 1', 'reflex-type: 3']],
    ['a time that is none', ['reflex-timestamp: 2026-01-01T00:00:00.5Z'], ['reflex-timestamp: today']],
  ])('%s', async (_, [wanted = ''], found) => {
    const send = await echo(client)
    const lines = [...valid, 'x: 1'].flatMap((line) => (line === wanted ? found : [line]))
    const message = await send(Buffer.from(`NATS/1.0\r\n${lines.join('\r\n')}\r\n\r\n`), Buffer.from('data'))
    expect(lines).toEqual(expect.arrayContaining([...found]))
    expect(outcome(() => decodeMessage(delivered(message)))).toEqual(outcome(() => slowly(message)))
  })

  test('any other headers come out as the client reads them', async () => {
    const send = await echo(client)
    const name = fc.constantFrom(
      ...ours,
      'reflex-null',
      'Nats-Msg-Id',
      'nats-x',
      'x',
      'a%20b',
      'X-Y',
      'reflex-other',
      'a b',
      '',
      'ü',
    )
    const value = fc.constantFrom(
      '',
      '1',
      ' 1',
      '1 ',
      '-3',
      '07',
      '2026-01-01T00:00:00.000001Z',
      'a%20b',
      '%',
      'ü',
      'a: b',
      'NATS/1.0',
    )
    const line = fc.tuple(name, fc.constantFrom(': ', ':', ':  '), value).map((parts) => parts.join(''))
    const lines = fc.tuple(fc.constantFrom([], valid), fc.array(line, { maxLength: 4 }), fc.boolean())
    await fc.assert(
      fc.asyncProperty(lines, async ([own, others, before]) => {
        const all = before ? [...others, ...own] : [...own, ...others]
        const text = all.map((each) => `${each}\r\n`).join('')
        const block = /[^ -~\r\n]/.test(text) ? Buffer.from(`NATS/1.0\r\n${text}\r\n`) : headerBlock(text)
        const message = await send(block, Buffer.from('data'))
        expect(outcome(() => decodeMessage(delivered(message)))).toEqual(outcome(() => slowly(message)))
      }),
      { numRuns: 500 },
    )
  })
})
