import { z } from 'zod'
import { checkTableName } from '../../sql/table-stream.ts'
import { isMade } from './check-keys.ts'

/** A table's name as a key of the configuration. */
export const tableName: z.ZodString = z.string().refine((name) => isMade(() => checkTableName(name)), {
  error: 'letters, digits and _, at most 64, not starting with a digit',
})
