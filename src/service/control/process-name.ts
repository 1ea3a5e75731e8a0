import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'

/** Names this process among all that bridge: its host, its id there, and something that no other process has had: `web-1:4711:9f3c21`. */
export const processName: string = `${hostname()}:${process.pid}:${randomBytes(3).toString('hex')}`
