/** Lets work through in the order in which it comes, as long as there is room for it: so many at once, and so many bytes. */
export interface PublishGate {
  /** Resolves when there is room for `bytes`, which is kept until `leave`; rejects with the signal's reason, and then keeps nothing. */
  enter(bytes: number, signal: AbortSignal | undefined): Promise<void>
  leave(bytes: number): void
}

/** Makes a gate. What is larger than there is room for goes through alone. */
export function publishGate({ most, mostBytes }: { readonly most: number; readonly mostBytes: number }): PublishGate {
  const waiting = new Set<{ readonly bytes: number; enter(): void }>()
  let inside = 0
  let bytesInside = 0
  const fits = (bytes: number): boolean => inside === 0 || (inside < most && bytesInside + bytes <= mostBytes)
  const take = (bytes: number): void => {
    inside++
    bytesInside += bytes
  }
  const letIn = (): void => {
    for (const one of waiting) {
      if (!fits(one.bytes)) return
      take(one.bytes)
      waiting.delete(one)
      one.enter()
    }
  }
  return {
    // Both ways through take the same number of turns: who was let in first goes on first.
    enter: (bytes, signal) => {
      if (signal?.aborted) return Promise.reject(signal.reason)
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      if (waiting.size === 0 && fits(bytes)) {
        take(bytes)
        resolve()
        return promise
      }
      const onAbort = (): void => {
        waiting.delete(one)
        reject(signal?.reason)
        letIn()
      }
      const one = {
        bytes,
        enter: (): void => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      waiting.add(one)
      signal?.addEventListener('abort', onAbort, { once: true })
      return promise
    },
    leave: (bytes) => {
      inside--
      bytesInside -= bytes
      letIn()
    },
  }
}
