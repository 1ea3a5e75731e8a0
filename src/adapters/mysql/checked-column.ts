import type { MysqlProblem } from './mysql-problem.ts'

/** A column as information_schema shows it. */
export interface CheckedColumn {
  readonly name: string
  /** `varchar`. */
  readonly dataType: string
  /** `varchar(255)`. */
  readonly type: string
  readonly nullable: boolean
  readonly hasDefault: boolean
  /** In lower case. */
  readonly extra: string
  readonly charset: string | undefined
  readonly collation: string | undefined
  /** In characters, or in bytes if it has no character set. */
  readonly length: number | undefined
  /** Digits of a second's fraction. */
  readonly precision: number
  /** Computed from other columns. */
  readonly generated: boolean
}

/** Adds to a list what was found. */
export type AddProblem = (
  severity: MysqlProblem['severity'],
  found: string,
  why: string,
  ...statements: readonly string[]
) => void

/** Gives a column another type. */
export type Modify = (column: CheckedColumn, type: string) => string

/** Bits of the integer types. */
export const INTEGER_BITS: Readonly<Record<string, number>> = {
  tinyint: 8,
  smallint: 16,
  mediumint: 24,
  int: 32,
  bigint: 64,
}

/** The type of a column with its character set, to be declared again. */
export function declared({ type, charset, collation }: CheckedColumn): string {
  return charset === undefined ? type : `${type} character set ${charset} collate ${collation}`
}
