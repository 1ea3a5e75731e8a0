import { existsSync } from 'node:fs'
import { mkdir, readdir, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type AptSource, debianArchive, readAptSources } from './apt-source.ts'
import { cachedFolder, cacheFolder } from './cached-folder.ts'
import { fileLock } from './file-lock.ts'
import { findExecutable } from './find-executable.ts'
import { runCommand } from './run-command.ts'
import type { ServerContext } from './server-definition.ts'

/** A folder tree made of distribution packages, run through its own loader so that the machine's C library does not matter. */
export interface NativeRoot {
  readonly folder: string
  /** The argv prefix that runs `path` (relative to the root) with the root's own libraries. */
  run(path: string): readonly string[]
}

/** What to fetch: a Debian suite, the packages with all they depend on, and `alone` for packages without their dependencies. */
export interface NativePackages {
  readonly suite: 'unstable' | 'bookworm'
  /** Names the folder in the cache. */
  readonly name: string
  /** For the progress line, for example `mysql 9.7`. */
  readonly title: string
  readonly packages: readonly string[]
  readonly alone?: readonly string[]
}

/**
 * Unpacks Debian packages into the cache, once: neither root nor the system's package state is touched. The archive and
 * its keyring are those of the machine's own apt sources (`REFLEX_BRIDGE_APT_SOURCES` names another folder than `/etc/apt`).
 * Throws where they are not in the cache and cannot be fetched here.
 */
export async function nativePackages(wanted: NativePackages, context: ServerContext): Promise<NativeRoot> {
  const base = join(cacheFolder(context.env), 'debian', wanted.suite)
  const folder = await cachedFolder(
    join(base, wanted.name),
    async (partial) => {
      const source = await requireArchive(context)
      const started = Date.now()
      context.log(`fetching ${wanted.title} (Debian ${wanted.suite}: ${wanted.packages.join(' ')})`)
      const archives = `${partial}.archives`
      await download(wanted, source, join(base, 'apt'), archives, context)
      for (const name of await readdir(archives)) {
        if (name.endsWith('.deb'))
          await runCommand(['dpkg', '-x', join(archives, name), partial], { signal: context.signal })
      }
      await rm(archives, { recursive: true })
      await relinkInside(partial, context.signal)
      context.log(`fetched ${wanted.title} in ${((Date.now() - started) / 1000).toFixed(1)} s`)
    },
    context.signal,
  )
  return openRoot(folder)
}

async function requireArchive(context: ServerContext): Promise<AptSource> {
  if (context.env['REFLEX_BRIDGE_FETCH'] === 'off') throw new Error('not in the cache, and REFLEX_BRIDGE_FETCH=off')
  for (const tool of ['apt-get', 'dpkg']) {
    if ((await findExecutable(tool, context.env)) === undefined)
      throw new Error(`not in the cache, and there is no ${tool} to fetch it with`)
  }
  const folder = context.env['REFLEX_BRIDGE_APT_SOURCES'] || '/etc/apt'
  const source = debianArchive(await readAptSources(folder))
  if (source === undefined)
    throw new Error(`not in the cache, and ${folder} has no source of the Debian main archive to fetch it from`)
  return source
}

async function download(
  wanted: NativePackages,
  source: AptSource,
  state: string,
  archives: string,
  context: ServerContext,
): Promise<void> {
  const { signal } = context
  await mkdir(state, { recursive: true })
  await using _lock = await fileLock(`${state}.lock`, signal)
  for (const folder of [join(archives, 'partial'), join(state, 'lists', 'partial'), join(state, 'etc')])
    await mkdir(folder, { recursive: true })
  const signedBy = source.signedBy === undefined ? '' : `Signed-By: ${source.signedBy}\n`
  await writeFile(
    join(state, 'etc', 'debian.sources'),
    `Types: deb\nURIs: ${source.uri}\nSuites: ${wanted.suite}\nComponents: main\nTargets: Packages\n${signedBy}`,
  )
  await writeFile(join(state, 'status'), '')
  await writeFile(join(state, `${wanted.name}.conf`), aptConfiguration(state, archives))
  const apt = (...args: string[]) =>
    runApt(['apt-get', '-c', join(state, `${wanted.name}.conf`), '-qq', '-y', ...args], archives, signal)
  const updated = await stat(join(state, 'updated')).then(
    (file) => file.mtimeMs,
    () => 0,
  )
  if (Date.now() - updated > 600_000) {
    await apt('update')
    await writeFile(join(state, 'updated'), '')
  }
  await apt('install', '--download-only', '--no-install-recommends', ...wanted.packages)
  if (wanted.alone !== undefined) await apt('download', ...wanted.alone)
}

// apt has locks of its own, which an apt of an interrupted fetch may hold for some seconds more.
async function runApt(argv: readonly string[], cwd: string, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await runCommand(argv, { signal, cwd })
      return
    } catch (error) {
      if (attempt === 60 || !String(error).includes('Could not get lock')) throw error
      await setTimeout(500, undefined, { signal })
    }
  }
}

// The machine's hooks are cleared: they act on the system (container images delete the system's package cache in one).
function aptConfiguration(state: string, archives: string): string {
  const hooks = [
    'APT::Update::Pre-Invoke',
    'APT::Update::Post-Invoke',
    'APT::Update::Post-Invoke-Success',
    'DPkg::Pre-Invoke',
    'DPkg::Post-Invoke',
  ]
  const settings = {
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(state, 'etc'),
    'Dir::State::lists': join(state, 'lists'),
    'Dir::State::status': join(state, 'status'),
    'Dir::Cache::archives': archives,
    'Dir::Cache::pkgcache': '',
    'Dir::Cache::srcpkgcache': '',
    'Dir::Log': state,
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::Check-Valid-Until': 'false',
    'Acquire::Retries': '3',
  }
  return [
    ...hooks.map((hook) => `#clear ${hook};`),
    ...Object.entries(settings).map(([key, value]) => `${key} "${value}";`),
    '',
  ].join('\n')
}

// Packages link to absolute paths, which would lead out of the root.
async function relinkInside(root: string, signal: AbortSignal): Promise<void> {
  const links = await runCommand(['find', root, '-type', 'l', '-lname', '/*', '-print0'], { signal })
  for (const link of links.split('\0').filter(Boolean)) {
    const target = join(root, await readlink(link))
    await rm(link)
    await symlink(relative(dirname(link), target), link)
  }
}

async function openRoot(folder: string): Promise<NativeRoot> {
  const libraries: string[] = []
  let loader: string | undefined
  for (const base of ['usr/lib64', 'lib64', 'usr/lib', 'lib'].map((name) => join(folder, name))) {
    for (const name of await readdir(base).catch(() => [])) {
      if (/^ld-linux.*\.so\.\d$/.test(name)) loader ??= join(base, name)
      if (/-linux-gnu/.test(name)) libraries.push(join(base, name))
    }
  }
  if (loader === undefined || !existsSync(loader))
    throw new Error(`${folder} holds no dynamic loader; remove that folder and try again`)
  const prefix = [loader, '--library-path', libraries.join(':')]
  return { folder, run: (path) => [...prefix, join(folder, path)] }
}
