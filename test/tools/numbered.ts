import type { NewEvent } from '../../src/core/event.ts'

/** Distinct small events: the foreign ids are `e0`, `e1`, … */
export function numbered(count: number, { type = 1, offset = 0 }: { type?: number; offset?: number } = {}): NewEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    type,
    foreignId: `e${offset + i}`,
    metadata: Buffer.from(`payload ${offset + i}`),
  }))
}
