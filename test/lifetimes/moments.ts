import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'

/** Moments in the life of something that takes some ms, each to be waited for: at once, turns of the event loop, and ms. */
export const moments: readonly (() => Promise<void>)[] = [
  async () => {},
  ...[1, 2, 3, 5, 8].map((turns) => async () => {
    for (let i = 0; i < turns; i++) await turn()
  }),
  ...[1, 2, 3, 5, 8, 13, 21, 40].map((ms) => async () => {
    await pause(ms)
  }),
]
