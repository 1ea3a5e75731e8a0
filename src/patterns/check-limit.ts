import { OptionError } from '../core/errors.ts'

/** Throws an `OptionError` unless the option is a whole number from 1 on. */
export function checkLimit(what: string, option: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new OptionError(`${what}: ${option} must be a whole number from 1 on, but is ${value}`)
}
