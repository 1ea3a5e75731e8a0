import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ConfigError } from './config-error.ts'
import { type Config, parseConfig } from './parse-config.ts'
import type { Environment } from './substitute-environment.ts'

/** Reads a configuration file; relative paths in it are relative to its folder. Throws a `ConfigError` with everything that is wrong. */
export async function loadConfig(path: string, environment: Environment): Promise<Config> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const found = { ENOENT: 'there is no such file', EISDIR: 'this is a folder, not a file' }[code ?? ''] ?? message
    throw new ConfigError(path, [{ path: [], message: found }])
  }
  return parseConfig(text, { title: path, folder: dirname(resolve(path)), environment })
}
