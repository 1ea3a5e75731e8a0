import { spawnSync } from 'node:child_process'
import { nativePackages } from '../../src/testing/servers/native-packages.ts'

/** The argv prefix of `docker compose`: the machine's own, else Debian's, which can check a file without Docker itself. */
export async function dockerCompose(): Promise<readonly string[]> {
  if (spawnSync('docker', ['compose', 'version']).status === 0) return ['docker', 'compose']
  const root = await nativePackages(
    {
      ...{ suite: 'unstable', name: 'docker-compose', title: 'docker compose' },
      ...{ packages: ['libc6'], alone: ['docker-compose'] },
    },
    {
      ...{ env: process.env, column: 'current', args: [], appendonly: true, readyTimeoutMs: 0 },
      ...{ signal: AbortSignal.timeout(240_000), log: console.log },
    },
  )
  return root.run('usr/libexec/docker/cli-plugins/docker-compose')
}
