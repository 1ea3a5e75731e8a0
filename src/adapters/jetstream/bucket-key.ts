import { OptionError } from '../../core/errors.ts'

/** The whole subject must fit into a line of the protocol, of 4,096 bytes. */
const MAX_LENGTH = 2000

/** A consumer's name as a key: `=` and two hexadecimal digits for each byte that is not of `A-Z a-z 0-9 - _ /`. */
export function encodeKey(log: string, consumer: string): string {
  if (consumer === '') return '='
  const key = consumer.replace(/[^\w/-]+/gu, (part) => {
    let encoded = ''
    for (const byte of Buffer.from(part)) encoded += `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
    return encoded
  })
  if (consumer.isWellFormed() && key.length <= MAX_LENGTH) return key
  throw new OptionError(
    `${log}: the name of a consumer must be well-formed Unicode of at most ${MAX_LENGTH} bytes as a key, but is ${JSON.stringify(consumer.slice(0, 100))}`,
  )
}

/** The inverse of `encodeKey`; a key of others is returned as it is. */
export function decodeKey(key: string): string {
  if (key === '=') return ''
  if (!/^([^=]|=[0-9A-F]{2})*$/.test(key)) return key
  return key.replace(/(=[0-9A-F]{2})+/g, (part) => Buffer.from(part.replaceAll('=', ''), 'hex').toString())
}
