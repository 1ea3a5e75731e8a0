import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { type Server, startServer } from '../../src/testing/servers/index.ts'

async function tool(kafka: Server, name: string, args: string[], input = ''): Promise<string> {
  const [command = '', ...prefix] = kafka.cli(`org.apache.kafka.tools.${name}`) ?? []
  const child = spawn(command, [...prefix, '--bootstrap-server', kafka.url, ...args])
  child.stdin.end(input)
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${output}${errors}`)
  return output
}

test('kafka takes a message, and has it after kill -9 and a start on the same port', async () => {
  await using kafka = await startServer('kafka', { from: ['native'] })
  expect(kafka.version).toMatch(/^4\./)
  await tool(kafka, 'TopicCommand', ['--create', '--topic', 'events'])
  await tool(kafka, 'ConsoleProducer', ['--topic', 'events'], 'hello\n')
  await kafka.process?.kill()
  await kafka.process?.start()
  const output = await tool(kafka, 'consumer.ConsoleConsumer', [
    '--topic',
    'events',
    '--from-beginning',
    '--max-messages',
    '1',
  ])
  expect(output).toContain('hello')
})
