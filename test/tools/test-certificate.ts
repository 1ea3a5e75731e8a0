import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const file = (name: string): string => fileURLToPath(new URL(`certificate/${name}.pem`, import.meta.url))

/** A certificate that has signed itself, of localhost and 127.0.0.1, for servers of tests only: its key is no secret. */
export const testCertificate: {
  readonly certificateFile: string
  readonly keyFile: string
  /** PEM, for a client that is to trust it. */
  readonly authority: string
} = {
  certificateFile: file('certificate'),
  keyFile: file('key'),
  authority: readFileSync(file('certificate'), 'utf8'),
}
