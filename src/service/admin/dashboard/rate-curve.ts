/** Events per second over the last minutes, from counts that rise. */
export interface RateCurve {
  /** At `at`, epoch in ms, so many events had been forwarded since the process started. */
  add(at: number, forwarded: number): void
  /** Over the last seconds. */
  readonly now: number
  /** The most of what is drawn. */
  readonly peak: number
  /** An SVG path of the rates up to the last one added, which is at the right edge; the peak is at the top. Empty without two counts. */
  path(size: { readonly width: number; readonly height: number }): string
}

/** The curve reaches back so far. */
export const CURVE_MS = 180_000
/** The rate of now is that of so long. */
const NOW_MS = 3000
/** Counts further apart than this were not seen: the curve has a hole there. */
const HOLE_MS = 10_000

interface Point {
  readonly at: number
  /** Since the point before; undefined after a hole. */
  readonly rate: number | undefined
  readonly forwarded: number
}

/** Starts a curve. */
export function rateCurve(): RateCurve {
  let points: readonly Point[] = []
  const peak = (): number => Math.max(0, ...points.map(({ rate }) => rate ?? 0))
  return {
    add: (at, forwarded) => {
      const last = points.at(-1)
      if (last !== undefined && at <= last.at) return
      // A process that was started again counts from 0.
      const known = last !== undefined && at - last.at <= HOLE_MS && forwarded >= last.forwarded
      const rate = known ? ((forwarded - last.forwarded) * 1000) / (at - last.at) : undefined
      points = [...points, { at, rate, forwarded }].filter((point) => at - point.at <= CURVE_MS)
    },
    get now() {
      const last = points.at(-1)
      if (last === undefined) return 0
      const hole = points.findLastIndex(({ rate }) => rate === undefined)
      const first = points.slice(Math.max(0, hole)).find(({ at }) => last.at - at <= NOW_MS)
      if (first === undefined || first === last) return 0
      return ((last.forwarded - first.forwarded) * 1000) / (last.at - first.at)
    },
    get peak() {
      return peak()
    },
    path: ({ width, height }) => {
      const end = points.at(-1)?.at ?? 0
      const top = peak()
      let drawing = false
      const steps = points.map(({ at, rate }) => {
        if (rate === undefined) {
          drawing = false
          return ''
        }
        const x = width - ((end - at) / CURVE_MS) * width
        const y = top === 0 ? height : height - (rate / top) * height
        const step = `${drawing ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`
        drawing = true
        return step
      })
      return steps.join('')
    },
  }
}
