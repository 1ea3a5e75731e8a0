import { InvalidArgumentError } from 'commander'

/** A whole number from 0 on, as the value of an option. */
export function wholeNumber(value: string): number {
  if (!/^\d{1,15}$/.test(value))
    throw new InvalidArgumentError(`expected a whole number, found ${JSON.stringify(value)}`)
  return Number(value)
}
