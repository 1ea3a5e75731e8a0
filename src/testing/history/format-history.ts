import type { HistoryOperation } from './history-operation.ts'

/** Writes a history as JSON lines, each ended by a line feed: what `parseHistory` reads. */
export function formatHistory(history: Iterable<HistoryOperation>): string {
  let text = ''
  for (const operation of history) text += `${JSON.stringify(operation)}\n`
  return text
}
