import { readdir, readFile, readlink } from 'node:fs/promises'

/**
 * Whether the process itself holds the listening socket of `port`: of two servers that were given the same port, an
 * answer from there may come from the other one. Always true where there is no /proc to look it up.
 */
export async function listensOn(pid: number, port: number): Promise<boolean> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8').catch(() => '')),
  )
  if (tables.every((table) => table === '')) return true
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const listening = '0A'
  const sockets = new Set<string>()
  for (const line of tables.join('\n').split('\n')) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
    if (local?.endsWith(suffix) && state === listening) sockets.add(`socket:[${inode}]`)
  }
  const folder = `/proc/${pid}/fd`
  for (const descriptor of await readdir(folder).catch(() => [])) {
    if (sockets.has(await readlink(`${folder}/${descriptor}`).catch(() => ''))) return true
  }
  return false
}
