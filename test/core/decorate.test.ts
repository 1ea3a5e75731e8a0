import { describe, expect, test } from 'vitest'
import { bridge } from '../../src/bridge/bridge.ts'
import { leasedSink } from '../../src/bridge/leased-sink.ts'
import { sourceUntil } from '../../src/bridge/source-until.ts'
import type { Cursor, Mark, MemoryLog, Sink, SinkWriter, Source, StreamFunc } from '../../src/core/index.ts'
import { memoryCursors, memoryLog } from '../../src/core/index.ts'
import { chaos } from '../../src/patterns/index.ts'
import { reader } from '../tools/reader.ts'

/** A log whose members work as methods only. */
class ClassSource implements Source {
  readonly name = 'class'
  readonly #log: MemoryLog
  constructor(log: MemoryLog) {
    this.#log = log
  }
  async stream(...about: Parameters<StreamFunc>): ReturnType<StreamFunc> {
    return this.#log.source.stream(...about)
  }
  async head(): Promise<Cursor> {
    return (await this.#log.source.head?.()) ?? ''
  }
  compare(a: Cursor, b: Cursor): number {
    return this.#log.source.compare?.(a, b) ?? 0
  }
}

class ClassWriter implements SinkWriter {
  readonly resumeFrom = ''
  readonly #to: string[]
  constructor(to: string[]) {
    this.#to = to
  }
  async append(_events: unknown, cursor: Cursor): Promise<Mark> {
    this.#to.push(cursor)
    return cursor
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#to.push('closed')
  }
}

class ClassSink implements Sink {
  readonly name = 'class'
  readonly appended: string[] = []
  async open(): Promise<SinkWriter> {
    return new ClassWriter(this.appended)
  }
  async audit(): Promise<readonly string[]> {
    return this.appended
  }
}

describe('what is decorated may be a class', () => {
  test.each(
    Object.entries({
      sourceUntil: (source: Source) => sourceUntil(source, '2'),
      chaos: chaos({ seed: 1, probability: 1e-9 }).source,
    }),
  )('a source, by %s', async (_name, decorate) => {
    const log = memoryLog()
    for (let i = 0; i < 2; i++) log.append({ type: 1, foreignId: 'a' })
    const source = decorate(new ClassSource(log))
    await using stream = reader(await source.stream('', { toHead: true }))
    expect((await stream.take(2)).map(({ id }) => id)).toEqual(['1', '2'])
    expect([await source.head?.(), source.compare?.('1', '2')]).toEqual(['2', -1])
  })

  test.each(
    Object.entries({
      leasedSink: (sink: Sink) => leasedSink(sink, { check: () => {} }),
      chaos: chaos({ seed: 1, probability: 1e-9 }).sink,
    }),
  )('a destination, by %s', async (_name, decorate) => {
    const inner = new ClassSink()
    const sink = decorate(inner)
    {
      await using writer = await sink.open({ route: 'r', source: 's' })
      expect([await writer.append([], '7'), writer.resumeFrom, sink.name]).toEqual(['7', '', 'class'])
    }
    expect(await sink.audit?.()).toEqual(['7', 'closed'])
  })

  test('and what a bridge is between', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    const sink = new ClassSink()
    const spec = { name: 'r', source: new ClassSource(log), sink, checkpoints: memoryCursors() }
    expect(await bridge(spec, { toHead: true })).toMatchObject({ reason: 'head', cursor: '1@1' })
    expect(sink.appended).toEqual(['1@1', 'closed'])
  })
})
