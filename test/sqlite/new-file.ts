import { onTestFinished } from 'vitest'
import { temporaryFile } from '../subjects/sqlite.ts'

/** The path of a file in a new folder that ends with the test. */
export function newFile(): string {
  const { file, remove } = temporaryFile()
  onTestFinished(remove)
  return file
}
