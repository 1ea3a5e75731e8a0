import { type Anomaly, type AnomalyEvidence, type AnomalyKind, anomalyMessages } from './anomaly.ts'

/** Takes one find; the evidence is asked for only while it is to be kept. */
export type FoundAnomaly = (kind: AnomalyKind, evidence: () => AnomalyEvidence) => void

/** Counts what is found and keeps the first `limit` of each kind. `list` gives them with the worst kind first. */
export function collectAnomalies(limit: number): {
  readonly found: FoundAnomaly
  list(allowed: readonly AnomalyKind[]): Anomaly[]
} {
  const kinds = new Map<AnomalyKind, { count: number; evidence: AnomalyEvidence[] }>()
  return {
    found: (kind, evidence) => {
      let all = kinds.get(kind)
      if (all === undefined) {
        all = { count: 0, evidence: [] }
        kinds.set(kind, all)
      }
      all.count++
      if (all.evidence.length < limit) all.evidence.push(evidence())
    },
    list: (allowed) =>
      (Object.keys(anomalyMessages) as AnomalyKind[]).flatMap((kind) => {
        const all = kinds.get(kind)
        return all === undefined
          ? []
          : [{ kind, message: anomalyMessages[kind], ...all, allowed: allowed.includes(kind) }]
      }),
  }
}
