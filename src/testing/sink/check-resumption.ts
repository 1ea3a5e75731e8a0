import type { SinkWriter } from '../../core/sink.ts'
import { Violation } from '../conformance/violation.ts'
import { inWords, missingUpTo, positionOf, type Saved, type SinkModel } from './sink-model.ts'

/**
 * Where a writer resumes: never after what is in the destination, which would be lost; not before what was saved either, unless
 * the tail was lost since; and where nothing has happened since, exactly there. What was lost is told.
 */
export function checkResumption(model: SinkModel, { resumeFrom, repair }: SinkWriter, stored: Saved | undefined): void {
  const saved = stored?.checkpoint
  const said = `it resumes from ${JSON.stringify(resumeFrom)}`
  const at = positionOf(model, resumeFrom)
  if (at === undefined)
    throw new Violation('B16', `expected resumeFrom to be a cursor of the source that was appended, but ${said}`)
  const passedOver = missingUpTo(model, at)
  if (passedOver.length > 0) {
    throw new Violation(
      model.losses > 0 ? (model.wiped ? 'B18' : 'B9') : 'B1',
      `expected it to resume before ${inWords(passedOver)}, which is not in the destination, but ${said}`,
    )
  }
  if (repair !== undefined && (typeof repair !== 'string' || repair.trim() === ''))
    throw new Violation('B9', `expected repair to be words for an operator, but it is ${JSON.stringify(repair)}`)
  const savedAt = positionOf(model, saved?.cursor ?? '') ?? 0
  const lost = missingUpTo(model, savedAt)
  if (lost.length > 0 && repair === undefined) {
    throw new Violation(
      model.wiped ? 'B18' : 'B9',
      `expected repair to say that what the checkpoint ${saved?.cursor} tells of was lost, namely ${inWords(lost)}, but it is undefined`,
    )
  }
  const rule = savedAt > 0 && model.source[savedAt - 1] === undefined ? 'B17' : 'B16'
  // Whoever is not fenced may have to go back behind what two have appended.
  const mayRepeat = !model.once && model.overlapped
  if (at < savedAt && !mayRepeat && model.losses === (stored?.losses ?? 0))
    throw new Violation(
      rule,
      `expected it not to resume before the checkpoint ${saved?.cursor}, as nothing was lost since, but ${said}`,
    )
  if (saved !== model.tail || mayRepeat) return
  if (at !== savedAt)
    throw new Violation(
      rule,
      `expected it to resume at the checkpoint ${JSON.stringify(saved?.cursor ?? '')}, after which nothing was appended, but ${said}`,
    )
  if (repair !== undefined && model.clean)
    throw new Violation(
      'B16',
      `expected nothing to repair, as the destination is as it was saved, but repair says: ${repair}`,
    )
}
