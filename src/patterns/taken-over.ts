import { codeOf, errorKind } from '../core/errors.ts'

/** Whether a run has ended since another one does its work: whatever is begun now is done twice. */
export function isTakenOver({ aborted, reason }: AbortSignal): boolean {
  return aborted && (['LEASE_LOST', 'CURSOR_CONFLICT'].includes(codeOf(reason) ?? '') || errorKind(reason) === 'fenced')
}
