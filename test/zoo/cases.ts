import { bridgeCases, bridgeCorrect } from './bridge-cases.ts'
import { cursorCases, cursorCorrect } from './cursor-cases.ts'
import { runCases, runCorrect } from './run-cases.ts'
import { sinkCases, sinkCorrect } from './sink-cases.ts'
import { sourceCases, sourceCorrect } from './source-cases.ts'
import type { ZooCase } from './zoo-case.ts'

/** All implementations that are broken. */
export const zooCases: readonly ZooCase[] = [...sourceCases, ...cursorCases, ...sinkCases, ...runCases, ...bridgeCases]

/** Implementations that are correct: none may be accused. */
export const correctCases: readonly ZooCase[] = [
  ...sourceCorrect,
  ...cursorCorrect,
  ...sinkCorrect,
  ...runCorrect,
  ...bridgeCorrect,
]
