import type { Event } from '../core/event.ts'

/**
 * What happens to an event between source and destination: the event to append, or undefined to leave it out; the position then
 * moves on all the same. Synchronous, and a function of the event alone: after a crash the same event must come out the same.
 * The id stays the source's, since the destination tells by it what it holds already; `applyTransform` refuses another one.
 * What it throws ends the bridge: an event is never left out by mistake.
 */
export type Transform = (event: Event) => Event | undefined
