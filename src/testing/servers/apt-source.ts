import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One archive of the machine's own apt configuration. `signedBy` is a keyring's path or a whole key, as apt accepts it. */
export interface AptSource {
  readonly uri: string
  readonly suites: readonly string[]
  readonly components: readonly string[]
  readonly signedBy?: string | undefined
}

/**
 * Reads every enabled binary archive from `sources.list` and `sources.list.d` (one-line and deb822 formats) in `folder`.
 * @default folder `/etc/apt`
 */
export async function readAptSources(folder = '/etc/apt'): Promise<AptSource[]> {
  const parts = await readdir(join(folder, 'sources.list.d')).catch(() => [])
  const files = ['sources.list', ...parts.sort().map((name) => join('sources.list.d', name))]
  const sources: AptSource[] = []
  for (const file of files) {
    if (!/\.(list|sources)$/.test(file)) continue
    const text = await readFile(join(folder, file), 'utf8').catch(() => '')
    sources.push(...(file.endsWith('.list') ? parseList(text) : parseDeb822(text)))
  }
  return sources
}

/** The Debian main archive among `sources`; undefined where there is none (Ubuntu, or no apt at all). */
export function debianArchive(sources: readonly AptSource[]): AptSource | undefined {
  return sources.find(
    (source) =>
      /\/debian(\.list)?\/?$|\/archive\/debian\/[0-9TZ]+\/?$/.test(source.uri) &&
      source.components.includes('main') &&
      !source.suites.every((suite) => /security/.test(suite)),
  )
}

function parseList(text: string): AptSource[] {
  const sources: AptSource[] = []
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line)
    if (match === null) continue
    const [, options = '', uri = '', suite = '', components = ''] = match
    const signedBy = /(?:^|\s)signed-by=(\S+)/.exec(options)?.[1]
    sources.push({ uri, suites: [suite], components: components.trim().split(/\s+/), signedBy })
  }
  return sources
}

function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = []
  for (const stanza of text.replace(/^#.*\n?/gm, '').split(/\n\s*\n/)) {
    const fields = new Map<string, string>()
    for (const [, key = '', value = ''] of stanza.matchAll(/^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)/gm))
      fields.set(key.toLowerCase(), value)
    const words = (key: string) => (fields.get(key) ?? '').split(/\s+/).filter(Boolean)
    if (!words('types').includes('deb') || /^(no|false|0|off)$/i.test(fields.get('enabled') ?? '')) continue
    for (const uri of words('uris')) {
      sources.push({ uri, suites: words('suites'), components: words('components'), signedBy: fields.get('signed-by') })
    }
  }
  return sources
}
