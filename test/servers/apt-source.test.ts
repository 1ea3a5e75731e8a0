import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { debianArchive, readAptSources } from '../../src/testing/servers/apt-source.ts'

async function archiveIn(files: Record<string, string>) {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-test-'))
  try {
    await mkdir(join(folder, 'sources.list.d'))
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
    return debianArchive(await readAptSources(folder))
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('deb822 sources: the main archive, not the security one, with its keyring', async () => {
  const text = `# comment
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /keys/security.gpg

Types: deb deb-src
# another comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/debian.gpg
`
  expect(await archiveIn({ 'sources.list.d/debian.sources': text })).toEqual({
    uri: 'http://mirror.example/debian',
    suites: ['bookworm', 'bookworm-updates'],
    components: ['main', 'contrib'],
    signedBy: '/keys/debian.gpg',
  })
})

test('a whole key in Signed-By is kept as it stands', async () => {
  const key = '\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc=\n -----END PGP PUBLIC KEY BLOCK-----'
  const text = `Types: deb\nURIs: http://mirror.example/debian/\nSuites: trixie\nComponents: main\nSigned-By:${key}\n`
  expect((await archiveIn({ 'sources.list.d/debian.sources': text }))?.signedBy).toBe(key)
})

test('one-line sources, with and without options', async () => {
  const text = `# deb http://mirror.example/debian off main
deb http://mirror.example/debian-security bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian/ bookworm main non-free # comment
`
  expect(await archiveIn({ 'sources.list': text })).toMatchObject({
    uri: 'http://mirror.example/debian/',
    signedBy: '/keys/debian.gpg',
  })
  expect(await archiveIn({ 'sources.list': 'deb http://mirror.example/debian bookworm main\n' })).toMatchObject({
    signedBy: undefined,
  })
})

test('disabled sources, other archives and other files are not taken', async () => {
  const disabled = 'Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\n'
  const other = 'deb http://mirror.example/ubuntu noble main\n'
  expect(await archiveIn({ 'sources.list.d/debian.sources': disabled, 'sources.list': other })).toBeUndefined()
  expect(await archiveIn({ 'sources.list.d/debian.sources.off': disabled.replace('no', 'yes') })).toBeUndefined()
})
