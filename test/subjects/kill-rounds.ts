import type { SourceCommand } from '../../src/testing/source/source-command.ts'

/** A schedule in which the server is killed and started again `rounds` times under a reader and a consumer. */
export function killRounds(rounds: number): SourceCommand[] {
  return Array.from({ length: rounds }, (_, round): SourceCommand[] => [
    { do: 'append', count: 1 + (round % 4), type: 1 },
    { do: 'open', cursor: round },
    { do: 'drain', reader: 0 },
    { do: 'restart' },
    { do: 'run', until: round % 3 === 0 ? 'failure' : 'head', after: round % 2 },
  ]).flat()
}
