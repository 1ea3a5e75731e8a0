import { z } from 'zod'
import { messageOf } from '../core/errors.ts'
import { checkTableName } from '../sql/table-stream.ts'

/** A table's name as a key of the configuration. */
export const tableName: z.ZodString = z.string().superRefine((name, context) => {
  try {
    checkTableName(name)
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) })
  }
})
