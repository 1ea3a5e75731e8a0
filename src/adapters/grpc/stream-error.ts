import { ReflexError } from '../../core/errors.ts'

/** How a stream ends that was asked for what there is up to the head; luno/reflex has it as an error, and so it travels. */
export function headReached(): ReflexError {
  return new ReflexError('HEAD_REACHED', 'the event stream has reached the current head', { retriable: false })
}

/** How a stream ends whose server is being stopped. */
export function streamStopped(): ReflexError {
  return new ReflexError('STREAM_STOPPED', 'the event stream has been stopped')
}
