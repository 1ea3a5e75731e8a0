import type { NewEvent } from 'reflex-bridge'

/** How many events every case works on, and how large they are. */
export const COUNT = 100_000
const PAYLOAD = Buffer.alloc(200, 'x')

/** The events that every case works on: 200 bytes each, about 1,000 entities. */
export function sampleEvents(count: number = COUNT): NewEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    type: 1,
    foreignId: `order-${i % 1000}`,
    timestamp: 1_700_000_000_000 + i,
    metadata: PAYLOAD,
  }))
}
