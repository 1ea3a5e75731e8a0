import { randomBytes } from 'node:crypto'
import { createTraceState, ROOT_CONTEXT, type SpanContext, trace } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { Redis } from 'ioredis'
import { describe, expect, inject, test } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { redisFailFast, redisSink, redisStream } from '../../src/adapters/redis/index.ts'
import { audit } from '../../src/bridge/audit.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { memoryCursors, run } from '../../src/core/index.ts'
import { tracedSink, traceHeaders, withTracing } from '../../src/otel/index.ts'
import { testDatabase } from '../mysql/database.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { type RegisteredSdk, registeredSdk } from './registered-sdk.ts'

/** As createTable() makes it, with the headers in JSON; and as a service in Go has it, with a column for the trace alone. */
const tables = {
  'a table with headers': undefined,
  'a table of luno/reflex':
    'create table events (id bigint auto_increment primary key, foreign_id varchar(255) not null, timestamp datetime(6) not null, type int not null, metadata blob, trace blob)',
}

describe.each(Object.entries(tables))('the trace of a row in %s', (_, ddl) => {
  test.each([1, 3])(
    'goes from the INSERT through MySQL, the bridge and Redis into the handler: %i at a time',
    async (count) => {
      const database = await testDatabase()
      const events = mysqlEvents(database.pool, { name: `shop-${randomBytes(4).toString('hex')}` })
      if (ddl === undefined) await events.createTable()
      else await database.sql(ddl)
      const key = `trace-${randomBytes(6).toString('hex')}`
      const redis = new Redis(inject('servers').redis.url, { ...redisFailFast })
      onTestFinished(async () => {
        await redis.del(key)
        await redis.quit()
      })
      const sdk = registeredSdk()
      const tracer = trace.getTracer('shop')

      const inserted: SpanContext[] = []
      const connection = await database.connect()
      for (let i = 0; i < count; i++) {
        // As some vendors' SDKs do, which must not make the application's INSERT fail.
        const root = trace.setSpanContext(ROOT_CONTEXT, {
          ...{ traceId: randomBytes(16).toString('hex'), spanId: randomBytes(8).toString('hex'), traceFlags: 1 },
          traceState: createTraceState('vendor=1'),
        })
        await tracer.startActiveSpan('place order', {}, root, async (span) => {
          inserted.push(span.spanContext())
          await events.insert(connection, { type: 1, foreignId: `order-${i}`, headers: traceHeaders() })
          span.end()
        })
      }
      const route = { name: 'orders', source: events.source, checkpoints: memoryCursors() }
      await bridge({ ...route, sink: tracedSink(redisSink(redis, { key })) }, { toHead: true })
      const source = redisStream(redis, { key })
      const consumer = withTracing(
        {
          name: 'mailer',
          handle: async ({ foreignId }) => {
            await Promise.resolve()
            tracer.startSpan(`mail of ${foreignId}`).end()
          },
        },
        { source },
      )
      await run({ stream: source.stream, cursors: memoryCursors(), consumer }, { toHead: true })

      expect(sdk.open()).toBe(0)
      for (const [i, insert] of inserted.entries()) {
        const mail = named(sdk, `mail of order-${i}`)
        const path = [mail, ...ancestors(sdk, mail)].reverse()
        expect(path.map(({ name }) => name)).toEqual([
          'place order',
          `${count === 1 ? 'send' : 'create'} ${key}`,
          `process ${key}`,
          `mail of order-${i}`,
        ])
        expect(new Set(path.map((span) => span.spanContext().traceId))).toEqual(new Set([insert.traceId]))
        expect(path.slice(1, 3).map(({ links }) => links.map(({ context }) => context.spanId))).toEqual(
          path.slice(0, 2).map((span) => [span.spanContext().spanId]),
        )
      }
      const created = sdk.ended().filter(({ name }) => name === `create ${key}`)
      expect(created).toHaveLength(count === 1 ? 0 : count)
      if (count > 1) {
        const send = named(sdk, `send ${key}`)
        expect(send.links.map(({ context }) => context.spanId)).toEqual(
          created.map((span) => span.spanContext().spanId),
        )
      }
      // Other spans in the headers than in the table are no damage.
      const report = await audit({ source: events.source, destinations: [source] })
      expect(report.ok).toBe(true)
      expect(report.counts).toMatchObject({ source: count, delivered: count, lost: 0 })
    },
  )
})

function named(sdk: RegisteredSdk, name: string): ReadableSpan {
  const found = sdk.ended().filter((span) => span.name === name)
  expect(found, name).toHaveLength(1)
  return found[0]!
}

function ancestors(sdk: RegisteredSdk, { parentSpanContext: parent }: ReadableSpan): ReadableSpan[] {
  const found = sdk.ended().find((span) => span.spanContext().spanId === parent?.spanId)
  return found === undefined ? [] : [found, ...ancestors(sdk, found)]
}
