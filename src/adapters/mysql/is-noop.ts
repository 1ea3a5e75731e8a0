import type { NewEvent } from '../../core/event.ts'

/** True for luno/reflex's no-op: a row that takes the place of a missing id, and is no event. */
export function isNoop({ type, foreignId }: Pick<NewEvent, 'type' | 'foreignId'>): boolean {
  return type === 0 && foreignId === '0'
}
