/** What a call throws; fails if it does not. */
export function thrownBy(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  throw new Error('expected an error, but it has succeeded')
}
