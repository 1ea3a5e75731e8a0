import type { StreamFunc } from '../../src/core/stream.ts'

/** A stream function that knows how many of its streams are open. */
export function countedStream(inner: StreamFunc): { readonly stream: StreamFunc; open(): number } {
  let open = 0
  return {
    open: () => open,
    stream: async (after, options) => {
      const stream = await inner(after, options)
      open++
      let isOpen = true
      return Object.assign(Object.create(stream) as typeof stream, {
        [Symbol.asyncDispose]: async () => {
          if (isOpen) open--
          isOpen = false
          await stream[Symbol.asyncDispose]()
        },
      })
    },
  }
}
