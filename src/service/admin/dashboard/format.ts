/** A whole number with its thousands apart: `1,234,567`. */
export function formatCount(count: number | bigint | string): string {
  return BigInt(count).toLocaleString('en')
}

/** The same where there is little room: from ten millions on `12.3M`. */
export function formatShort(count: number | bigint | string): string {
  if (BigInt(count) < 10_000_000n) return formatCount(count)
  return BigInt(count).toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 })
}

/** So many seconds, in the largest unit that tells it. */
export function formatSeconds(seconds: number): string {
  if (seconds > 0 && seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds > 0 && seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}

/** Events per second: `0`, `0.4`, `1,234`. */
export function formatRate(perSecond: number): string {
  if (perSecond > 0 && perSecond < 10) return perSecond.toFixed(1)
  return formatShort(Math.round(perSecond))
}

/** The time of day of an epoch in ms. */
export function formatTime(at: number): string {
  return new Date(at).toTimeString().slice(0, 8)
}
