import { isSince } from './server-version.ts'
import type { StreamConfig } from './stream-info.ts'
import { configOf, type WantedSettings } from './stream-settings.ts'

/** The configuration of a new stream, but for its replicas. */
export function newStreamConfig(wanted: WantedSettings, version: string): StreamConfig {
  const canBeAtomic = wanted.mirror === undefined && isSince(version, '2.12')
  return {
    storage: 'file',
    retention: 'limits',
    ...(canBeAtomic ? { allow_atomic: true } : {}),
    ...configOf(wanted),
  }
}
