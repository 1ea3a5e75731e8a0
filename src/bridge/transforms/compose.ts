import { applyTransform } from '../apply-transform.ts'
import type { Transform } from '../transform.ts'

/**
 * One transform of several, from the first to the last; what one leaves out, the later ones do not see. Of none, it is the one that
 * changes nothing.
 *
 * @example compose(filter([1, 2]), typeNames({ 1: 'order.created', 2: 'order.paid' }), addHeaders({ tenant: 'acme' }))
 */
export function compose(...transforms: readonly Transform[]): Transform {
  return (event) => {
    let result = event
    for (const transform of transforms) {
      const next = applyTransform(transform, result)
      if (next === undefined) return undefined
      result = next
    }
    return result
  }
}
