import { z } from 'zod'
import { type Checked, checkKeys, count, text } from '../config/check-keys.ts'
import { type Listen, refuseListen } from './listen.ts'

/** The admin server of a configuration. */
export interface AdminConfig extends Listen {
  /** A route that has events to forward and makes no progress for so long is not ready, in ms. */
  readonly readyAfterMs: number
}

const adminKeys = z.strictObject({
  port: count(0).refine((port) => port <= 65_535, 'expected at most 65535'),
  host: text.default('127.0.0.1'),
  token: text.optional(),
  readyAfterMs: count(1000).default(60_000),
})

/** Checks what stands under `admin`. */
export function parseAdmin(value: unknown): Checked<AdminConfig> {
  const path = ['admin']
  const checked = checkKeys(adminKeys, value, path)
  if (checked.value === undefined) return checked
  const refused = refuseListen(checked.value)
  if (refused === undefined) return checked
  return { problems: [{ path: [...path, refused.key], message: refused.message }] }
}
