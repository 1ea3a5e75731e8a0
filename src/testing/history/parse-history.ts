import { checkOperation } from './check-operation.ts'
import { HistoryError } from './history-error.ts'
import type { HistoryOperation } from './history-operation.ts'

/**
 * Reads a history from JSON lines, one operation a line; blank lines are skipped. Throws a `HistoryError` with the line,
 * what was expected there and what was found; a field that is not known is refused, since it may be one misspelt.
 *
 * @example const report = checkHistory(parseHistory(await readFile('history.jsonl', 'utf8')))
 */
export function parseHistory(text: string): HistoryOperation[] {
  const history: HistoryOperation[] = []
  let number = 0
  for (const line of text.split('\n')) {
    number++
    if (line.trim() !== '') history.push(checkOperation(parseLine(line, number), 'line', number))
  }
  return history
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line)
  } catch (cause) {
    throw new HistoryError('line', number, { expected: 'an operation as JSON', found: line, cause })
  }
}
