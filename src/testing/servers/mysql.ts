import { cp, mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ask } from './ask.ts'
import { cachedFolder, cacheFolder } from './cached-folder.ts'
import { findExecutable } from './find-executable.ts'
import { nativePackages } from './native-packages.ts'
import { parseAddress } from './parse-address.ts'
import { runCommand } from './run-command.ts'
import type { Installation, ServerContext, ServerDefinition } from './server-definition.ts'

/** MySQL 9.7, or MariaDB 10.11 in the older column; user `root` without a password. */
export const mysql: ServerDefinition = {
  name: 'mysql',
  variable: 'MYSQL_URL',
  title: (column) => (column === 'current' ? 'mysql 9.7' : 'mariadb 10.11'),
  url: ({ host, port }) => `mysql://root@${host}:${port}/`,
  address: (url) => parseAddress('MYSQL_URL', url, ['mysql:', 'mariadb:'], 3306),
  container: (context) => ({
    image: context.env['MYSQL_IMAGE'] || (context.column === 'current' ? 'mysql:9.7' : 'mariadb:10.11'),
    port: 3306,
    command: [...settings(context), ...context.args],
    environment: () => ['MYSQL_ALLOW_EMPTY_PASSWORD=yes', 'MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=yes'],
  }),
  async installed(context) {
    const server = await findExecutable(context.column === 'current' ? 'mysqld' : 'mariadbd', context.env)
    if (server === undefined) return undefined
    const version = await versionOf([server], context)
    if (!version.startsWith(context.column === 'current' ? '9.' : '10.11.')) return undefined
    const cli = await findExecutable(context.column === 'current' ? 'mysql' : 'mariadb', context.env)
    const share = [
      join(dirname(dirname(server)), 'share/mysql'),
      '/usr/share/mysql',
      join(dirname(dirname(server)), 'share'),
    ]
    return installation(context, { version, server: [server], cli: cli === undefined ? undefined : [cli], share })
  },
  async fetched(context) {
    const current = context.column === 'current'
    const product = current ? 'mysql' : 'mariadb'
    const root = await nativePackages(
      {
        suite: current ? 'unstable' : 'bookworm',
        name: product,
        title: mysql.title(context.column),
        packages: [`${product}-server-core`, `${product}-client-core`],
        // The plugin metadata_lock_info comes with the whole server, whose dependencies are not needed.
        ...(current ? {} : { alone: ['mariadb-server'] }),
      },
      context,
    )
    const share = join(root.folder, 'usr/share/mysql')
    const server = [
      ...root.run(current ? 'usr/sbin/mysqld' : 'usr/sbin/mariadbd'),
      '--no-defaults',
      `--basedir=${join(root.folder, 'usr')}`,
      `--lc-messages-dir=${share}`,
      `--character-sets-dir=${join(share, 'charsets')}`,
      `--plugin-dir=${join(root.folder, 'usr/lib/mysql/plugin')}`,
    ]
    const cli = [
      ...root.run(current ? 'usr/bin/mysql' : 'usr/bin/mariadb'),
      '--no-defaults',
      `--character-sets-dir=${join(share, 'charsets')}`,
    ]
    return installation(context, { version: await versionOf(server, context), server, cli, share: [share] })
  },
  // The server speaks first: protocol 10, then its version up to a zero byte.
  probe: (address, signal) =>
    ask(
      address,
      '',
      (received) => {
        if (received.length < 6) return undefined
        if (received[4] !== 10) throw new Error(`unexpected greeting: ${received.subarray(7).toString('latin1')}`)
        const end = received.indexOf(0, 5)
        return end < 0 ? undefined : received.toString('latin1', 5, end).replace(/^5\.5\.5-/, '')
      },
      signal,
    ),
}

interface Executables {
  readonly version: string
  readonly server: readonly string[]
  readonly cli: readonly string[] | undefined
  /** Where MariaDB's SQL of the system tables may be. */
  readonly share: readonly string[]
}

async function versionOf(server: readonly string[], context: ServerContext): Promise<string> {
  const output = await runCommand([...server, '--version'], { signal: context.signal })
  return /Ver (\d+\.\d+\.\d+)/.exec(output)?.[1] ?? 'unknown'
}

/** Small, quick to start, and as durable as a production server, since it is killed in tests. */
function settings(context: ServerContext): string[] {
  const mysqlOnly = ['--mysqlx=OFF', '--performance-schema=ON', '--innodb-redo-log-capacity=32M', '--disable-log-bin']
  const mariadbOnly = ['--innodb-log-file-size=16M']
  return [
    '--innodb-buffer-pool-size=64M',
    '--innodb-flush-log-at-trx-commit=1',
    ...(context.column === 'current' ? mysqlOnly : mariadbOnly),
  ]
}

function installation(context: ServerContext, { version, server, cli, share }: Executables): Installation {
  const noDefaults = server.includes('--no-defaults') ? [] : ['--no-defaults']
  const asRoot = process.getuid?.() === 0 ? ['--user=root'] : []
  const command = (data: string) => [
    ...server,
    ...noDefaults,
    ...asRoot,
    '--secure-file-priv=',
    ...settings(context),
    `--datadir=${data}`,
  ]
  const template = () =>
    cachedFolder(
      join(cacheFolder(context.env), 'data', `mysql-${version}`),
      (partial) => initialise(command(join(partial, 'data')), partial, context, share),
      context.signal,
    )
  return {
    version,
    prepare: async (folder) => {
      await cp(join(await template(), 'data'), join(folder, 'data'), { recursive: true })
    },
    command: (folder, port) => [
      ...command(join(folder, 'data')),
      `--port=${port}`,
      `--socket=${join(folder, 'mysql.sock')}`,
      `--pid-file=${join(folder, 'mysql.pid')}`,
      `--tmpdir=${folder}`, // a server that starts deletes the temporary tables that it finds there, also another's
      '--bind-address=127.0.0.1',
      ...context.args,
    ],
    cli: (tool) =>
      tool === 'mysql' && cli !== undefined
        ? cli.includes('--no-defaults')
          ? cli
          : [...cli, '--no-defaults']
        : undefined,
  }
}

/** Makes the data folder of a first start once per version: every server starts on a copy. */
async function initialise(
  command: readonly string[],
  folder: string,
  context: ServerContext,
  share: readonly string[],
): Promise<void> {
  context.log(`preparing an empty ${mysql.title(context.column)} data folder`)
  const { signal } = context
  if (context.column === 'current') {
    await runCommand([...command, '--initialize-insecure'], { signal })
    await rm(join(folder, 'data', 'auto.cnf')) // the server's own id: each copy makes one
    return
  }
  // What mariadb-install-db does, which is a script that would not run the server through our loader.
  const files = ['system_tables', 'performance_tables', 'system_tables_data'].map((name) => `mysql_${name}.sql`)
  const scripts = [...files, 'fill_help_tables.sql', 'maria_add_gis_sp_bootstrap.sql', 'mysql_sys_schema.sql']
  const sql = ['create database if not exists mysql;', 'use mysql;', 'set @auth_root_socket=null;']
  for (const script of scripts) sql.push(await readFirst(share, script))
  await mkdir(join(folder, 'data'))
  await runCommand([...command, '--bootstrap', '--enforce-storage-engine='], { signal, input: sql.join('\n') })
}

async function readFirst(folders: readonly string[], name: string): Promise<string> {
  for (const folder of folders) {
    const text = await readFile(join(folder, name), 'utf8').catch(() => undefined)
    if (text !== undefined) return text
  }
  throw new Error(`${name} is in none of ${folders.join(', ')}`)
}
