import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { messageOf, OptionError } from '../../core/errors.ts'
import type { Location } from './scheme.ts'

/** The certificates in a file, relative to the configuration's folder. Throws an `OptionError` if it cannot be read. */
export async function readAuthority({ folder }: Pick<Location, 'folder'>, path: string): Promise<string> {
  try {
    return await readFile(resolve(folder, path), 'utf8')
  } catch (error) {
    throw new OptionError(`ca: expected a file with certificates, but it cannot be read: ${messageOf(error)}`, error)
  }
}
