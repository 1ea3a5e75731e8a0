import type { Event } from '../../src/core/event.ts'

const metadata = Buffer.alloc(200, 'x')

/** Events of 200 bytes that follow the one with the id `after`. */
export function numbered(after: number, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => ({
    id: String(after + i + 1),
    type: 1,
    foreignId: `order-${i % 100}`,
    timestamp: 1_700_000_000_000 + i,
    metadata,
    headers: {},
  }))
}
