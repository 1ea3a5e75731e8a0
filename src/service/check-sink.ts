import { auditor } from '../core/audit.ts'
import type { Sink } from '../core/sink.ts'

/**
 * What an operator should know of a destination: what of its settings can lose events, and what could not be looked at, which
 * the audit adds to `noted`. Throws `DESTINATION_AT_RISK` where the sink is strict and there are risks.
 */
export async function checkSink(
  sink: Sink,
  { strict, noted }: { readonly strict: boolean; readonly noted: readonly string[] },
): Promise<readonly string[]> {
  const risks = (await sink.audit?.()) ?? []
  auditor(sink.name, { strict }).judge(risks)
  return [...risks, ...noted]
}
