/** Things that are disposed of together. */
export interface DisposeStack extends AsyncDisposable {
  /** Adds `resource`, and returns it. */
  use<T extends AsyncDisposable>(resource: T): T
  /** Adds what is called at the end. */
  defer(dispose: () => unknown): void
}

/**
 * Makes an empty stack: what was added last is disposed of first, all of it even if some of it fails; the first failure is
 * thrown at the end. Disposing twice does nothing more. (Node 22 has no `AsyncDisposableStack`.)
 */
export function disposeStack(): DisposeStack {
  const disposers: (() => unknown)[] = []
  return {
    use: (resource) => {
      disposers.push(() => resource[Symbol.asyncDispose]())
      return resource
    },
    defer: (dispose) => {
      disposers.push(dispose)
    },
    [Symbol.asyncDispose]: async () => {
      const failures: unknown[] = []
      for (let dispose = disposers.pop(); dispose !== undefined; dispose = disposers.pop()) {
        try {
          await dispose()
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw failures[0]
    },
  }
}
