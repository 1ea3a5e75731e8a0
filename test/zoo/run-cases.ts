import { miniRun, type RunFlaw, runFlaws } from './mini-run.ts'
import { miniSupervise, type SuperviseFlaw, superviseFlaws } from './mini-supervise.ts'
import type { ZooCase } from './zoo-case.ts'

/** Each has one bug. */
export const runCases: readonly ZooCase<'run'>[] = [
  ...Object.entries(runFlaws).map(([flaw, cites]): ZooCase<'run'> => {
    const run = miniRun(flaw as RunFlaw)
    return { name: `run: ${flaw}`, of: 'run', create: () => ({ run }), cites }
  }),
  ...Object.entries(superviseFlaws).map(([flaw, cites]): ZooCase<'run'> => {
    const supervise = miniSupervise(flaw as SuperviseFlaw)
    return { name: `supervise: ${flaw}`, of: 'run', create: () => ({ supervise }), cites }
  }),
]

/** Nothing is wrong with these, and no property may fail. */
export const runCorrect: readonly ZooCase<'run'>[] = [
  { name: 'run and supervise of this package', of: 'run', create: () => ({}) },
  {
    name: 'run and supervise in their shortest form',
    of: 'run',
    create: () => ({ run: miniRun(), supervise: miniSupervise() }),
  },
]
