import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedFolder, cacheFolder } from './cached-folder.ts'
import { findExecutable } from './find-executable.ts'
import { type NativeRoot, nativePackages } from './native-packages.ts'
import { runCommand } from './run-command.ts'
import type { ServerContext } from './server-definition.ts'

/** The argv prefix of a Java of version 17 or newer: from JAVA_HOME, from PATH, or fetched. */
export async function findJava(context: ServerContext): Promise<readonly string[]> {
  return (await installedJava(context)) ?? fetchedJava(await javaRoot(context))
}

/** The argv prefix of Maven, from PATH where Java is there too, or fetched with its own Java. */
export async function findMaven(context: ServerContext): Promise<readonly string[]> {
  const maven = await findExecutable('mvn', context.env)
  if (maven !== undefined && (await installedJava(context)) !== undefined) return [maven]
  const root = await javaRoot(context)
  const home = join(root.folder, 'usr/share/maven')
  const boot = (await readdir(join(home, 'boot')))
    .filter((name) => name.endsWith('.jar'))
    .map((name) => join(home, 'boot', name))
  return [
    ...(await fetchedJava(root)),
    `-Djavax.net.ssl.trustStore=${await trustStore(root, context)}`,
    `-Djavax.net.ssl.trustStorePassword=${storePassword}`,
    '-classpath',
    boot.join(':'),
    `-Dclassworlds.conf=${join(home, 'bin/m2.conf')}`,
    `-Dmaven.home=${home}`,
    `-Dmaven.multiModuleProjectDirectory=${root.folder}`,
    'org.codehaus.plexus.classworlds.launcher.Launcher',
  ]
}

async function installedJava(context: ServerContext): Promise<readonly string[] | undefined> {
  const home = context.env['JAVA_HOME']
  const java = home ? join(home, 'bin/java') : await findExecutable('java', context.env)
  if (java === undefined || !existsSync(java)) return undefined
  const output = await runCommand([java, '-version'], { signal: context.signal }).catch(() => '')
  return Number(/version "(\d+)/.exec(output)?.[1] ?? 0) >= 17 ? [java] : undefined
}

function javaRoot(context: ServerContext): Promise<NativeRoot> {
  const packages = ['default-jre-headless', 'maven', 'openssl', 'ca-certificates']
  return nativePackages({ suite: 'unstable', name: 'java', title: 'java and maven', packages }, context)
}

async function fetchedJava(root: NativeRoot): Promise<readonly string[]> {
  const machines = await readdir(join(root.folder, 'usr/lib/jvm'))
  const machine = machines.sort().find((name) => existsSync(join(root.folder, 'usr/lib/jvm', name, 'bin/java')))
  if (machine === undefined) throw new Error(`${root.folder} holds no Java; remove that folder and try again`)
  return root.run(join('usr/lib/jvm', machine, 'bin/java'))
}

const storePassword = 'changeit' // it guards public certificates only

/** Debian makes Java's certificate store when the package is installed; unpacked only, it is made here from the machine's own certificates. */
async function trustStore(root: NativeRoot, context: ServerContext): Promise<string> {
  const { env, signal } = context
  const folder = await cachedFolder(
    join(cacheFolder(env), 'data', 'java-certificates'),
    async (partial) => {
      const machine = [env['SSL_CERT_FILE'], '/etc/ssl/certs/ca-certificates.crt'].find(
        (path) => path && existsSync(path),
      )
      let bundle = machine
      if (bundle === undefined) {
        const packaged = join(root.folder, 'usr/share/ca-certificates/mozilla')
        const texts = await Promise.all((await readdir(packaged)).map((name) => readFile(join(packaged, name), 'utf8')))
        bundle = join(partial, 'bundle.pem')
        await writeFile(bundle, texts.join('\n'))
      }
      await mkdir(partial, { recursive: true })
      const store = ['-in', bundle, '-out', join(partial, 'store.p12'), '-passout', `pass:${storePassword}`]
      await runCommand(
        [...root.run('usr/bin/openssl'), 'pkcs12', '-export', '-nokeys', '-jdktrust', 'anyExtendedKeyUsage', ...store],
        { signal, env: { ...env, OPENSSL_CONF: '/dev/null' } },
      )
    },
    signal,
  )
  return join(folder, 'store.p12')
}
