import type { Kind } from '../../testing/conformance/suites.ts'
import { loadConformance } from './load-conformance.ts'

/** Options of `listProperties`. */
export interface ListOptions {
  /** Default: `source`. */
  readonly of?: Kind | undefined
  readonly only?: readonly string[] | undefined
  readonly json: boolean
}

/** Prints the properties of a suite: id, grade, rule, and what breaks where it does not hold. Throws an `OptionError` on an unknown id. */
export async function listProperties({ of = 'source', only, json }: ListOptions): Promise<void> {
  const { selectProperties } = await loadConformance()
  const listed = selectProperties(of, only).map(({ id, grade, title, why, needs = [] }) => {
    return { id, grade, title, why, needs: needs as readonly string[] }
  })
  if (json) return console.log(JSON.stringify({ of, properties: listed }))
  const idWidth = Math.max(...listed.map(({ id }) => id.length))
  const gradeWidth = Math.max(...listed.map(({ grade }) => grade.length))
  const indent = ' '.repeat(idWidth + gradeWidth + 4)
  for (const { id, grade, title, why, needs } of listed) {
    console.log(`${id.padEnd(idWidth)}  ${grade.padEnd(gradeWidth)}  ${title}`)
    console.log(`${indent}${why}`)
    if (needs.length > 0) console.log(`${indent}It needs ${needs.join(' and ')} of the subject.`)
  }
}
