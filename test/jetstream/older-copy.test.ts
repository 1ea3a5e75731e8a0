import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { savedCursor } from '../../src/core/cursor.ts'
import { codeOf } from '../../src/core/errors.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { appendTo, clientNames, connector, ownServer, testAdmin } from './fixture.ts'

/** A folder that ends with the test. */
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'reflex-older-copy-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

for (const client of clientNames) {
  test(`a server whose files were set back to an older copy still has the same stream, which lost its tail, ${client}`, async () => {
    const store = await folder()
    const copy = await folder()
    const server = await ownServer({ args: ['-sd', store] })
    const admin = await testAdmin(server.url)
    await admin.createStream('log')
    const source = jetstreamSource({ connect: connector(client, server.url), stream: 'log' })
    const ids = await appendTo(admin, 'log', numbered(5))
    await server.process.stop()
    await cp(store, copy, { recursive: true })
    await server.process.start()
    await appendTo(admin, 'log', numbered(5, { offset: 5 }))
    const before = await source.stream('', { toHead: true })
    const reading = reader(before)
    expect(await reading.rest()).toHaveLength(10)
    const ahead = reading.cursor
    expect(ahead).toBe(savedCursor('10', before.incarnation))

    await server.process.stop()
    await rm(store, { recursive: true })
    await cp(copy, store, { recursive: true })
    await server.process.start()
    for (const cursor of [ahead, '10', '6'])
      expect(await errorOf(source.stream(cursor, {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    expect(codeOf(await errorOf(source.backlog?.(ahead) ?? Promise.resolve()))).toBe('CURSOR_AHEAD')

    // What was appended before stays valid, with what tells the stream from another one.
    await using whole = reader(await source.stream(savedCursor('3', before.incarnation), { toHead: true }))
    expect((await whole.rest()).map(({ id }) => id)).toEqual(ids.slice(3))
  })
}
