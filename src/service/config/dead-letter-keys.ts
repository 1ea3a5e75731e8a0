import type { z } from 'zod'
import { count } from './check-keys.ts'

/** The keys of `deadLetters` that every kind of URL has. */
export const deadLetterKeys: {
  /** With so many dead letters open, the route stops at the next one. */
  readonly max: z.ZodDefault<z.ZodType<number>>
} = { max: count(1).default(1000) }
