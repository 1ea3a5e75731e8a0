/** Epoch ms and µs as one number, the nearest there is: a sum of two that are rounded already may be its neighbour. */
export function withMicros(ms: number, micros: number): number {
  const all = ms * 1000 + micros
  return Number.isSafeInteger(all) ? all / 1000 : ms + micros / 1000
}
