import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** The path of an executable in `env.PATH` (and in the sbin folders, where Debian keeps servers); undefined where there is none. */
export async function findExecutable(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  const path = (env['PATH'] ?? '').split(delimiter).filter(Boolean)
  const sbin = path.filter((folder) => folder.endsWith('/bin')).map((folder) => folder.replace(/bin$/, 'sbin'))
  for (const folder of [...path, ...sbin]) {
    const candidate = join(folder, name)
    if (
      await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return candidate
  }
  return undefined
}
