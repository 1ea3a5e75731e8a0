// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the references to the environment are not template strings
import { describe, expect, it } from 'vitest'
import { type Config, parseConfig } from '../../../src/service/config/parse-config.ts'

function parse(admin: string, environment: Record<string, string> = {}): Config['admin'] {
  const routes = 'routes:\n  orders:\n    source: { url: sqlite:a.db }\n    sink: { url: sqlite:b.db }\n'
  return parseConfig(`${routes}${admin}`, { title: 'bridge.yaml', folder: '/srv', environment }).admin
}

describe('the admin server in a configuration', () => {
  it('is none unless it is asked for, and for this machine alone unless it is told otherwise', () => {
    expect(parse('')).toBeUndefined()
    expect(parse('admin: { port: 9464 }')).toEqual({ port: 9464, host: '127.0.0.1', readyAfterMs: 60_000 })
    const open = "admin: { port: 0, host: '::', token: '${TOKEN}', readyAfterMs: 5000 }"
    const token = 'sixteen-or-more-1'
    expect(parse(open, { TOKEN: token })).toEqual({ port: 0, host: '::', token, readyAfterMs: 5000 })
  })

  it.each([
    ['admin:', 'admin: expected a mapping of keys, found nothing'],
    ['admin: {}', 'admin.port: expected a number, found nothing'],
    ['admin: { port: 65536 }', 'admin.port: expected at most 65535, found 65536'],
    ['admin: { port: 1, readyAfterMs: 10 }', 'admin.readyAfterMs: expected at least 1000, found 10'],
    ['admin: { port: 1, tokn: x }', 'admin.tokn: unknown key: did you mean token?'],
    [
      'admin: { port: 1, host: 10.0.0.1 }',
      'admin.token: expected a token of at least 16 characters, found nothing: other machines can reach 10.0.0.1, and with it pause and stop routes',
    ],
    [
      'admin: { port: 1, token: hunter2 }',
      'admin.token: expected at least 16 characters, found 7: a shorter one can be guessed',
    ],
  ])('%s is refused', (text, message) => {
    expect(() => parse(text)).toThrow(`bridge.yaml: ${message} (line 5)`)
  })
})
