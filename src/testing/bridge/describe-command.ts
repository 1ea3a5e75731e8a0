import type { BridgeCommand, LifeCommand } from './bridge-command.ts'

/** A command in words; lives are counted from 1. */
export function describeCommand(command: BridgeCommand, lives: number): string {
  switch (command.do) {
    case 'append':
      return `the source takes ${command.positions}: a letter is an event, a dash a position without one`
    case 'append body':
      return `the source takes the event ${short(JSON.stringify(command.body))}`
    case 'append unacceptable':
      return 'the source takes an event that the destination cannot hold'
    case 'life':
      return `process ${lives + 1} runs the bridge${describeFault(command)}${describeEnd(command)}`
    case 'route':
      return `the route ${command.fromHead ? 'starts at the head' : 'starts at the earliest'}${command.batch === undefined ? '' : `, with batches of at most ${command.batch}`}`
    case 'interleave':
      return `of what goes on at once, the next is ${command.decisions.join(', ')}`
    case 'abort':
      return 'the oldest process that runs is aborted'
    case 'lose tail':
      return `the destination loses its last ${command.count} events`
    case 'wipe':
      return 'the destination loses everything'
    case 'reset checkpoint':
      return `an operator resets the checkpoint to the one of ${command.back + 1} saves ago`
    case 'lose checkpoint':
      return 'the checkpoint is lost'
    case 'pass':
      return `${command.ms} ms pass`
    case 'jump':
      return `the clock is set ${Math.abs(command.ms)} ms ${command.ms < 0 ? 'back' : 'forward'}`
    case 'refuse':
      return 'the destination refuses every append from now on'
    case 'accept':
      return 'the destination accepts again'
    case 'trim':
      return 'the source forgets its oldest events'
    case 'restart':
      return 'the destination is killed and started again'
    case 'freeze':
      return 'the destination stands still for a while'
    case 'cut':
      return 'every connection to the destination is cut'
  }
}

function describeFault({ fault, at, nth = 0, error = 'retriable', later = 0 }: LifeCommand): string {
  if (fault === undefined || at === undefined) return ''
  const what = `its ${ordinal(nth)} "${at}"`
  switch (fault) {
    case 'crash before':
      return `; it is killed before ${what}`
    case 'crash after':
      return `; it is killed after ${what}`
    case 'crash, late':
      return `; it is killed at ${what}, which takes effect ${later + 1} steps later`
    case 'refused':
      return `; ${what} is refused with an error (${error})`
    case 'lost reply':
      return `; ${what} takes effect, but is answered with an error (${error})`
    case 'partial':
      return `; half of ${what} takes effect, then there is an error (${error})`
    case 'late':
      return `; ${what} is answered with an error (${error}), and takes effect ${later + 1} steps later`
    case 'twice':
      return `; ${what} takes effect twice`
    case 'abort before':
      return `; it is aborted at ${what}`
    case 'abort, no answer':
      return `; ${what} is never answered, unless it writes, and it is aborted`
    case 'abort after':
      return `; it is aborted when ${what} is answered`
  }
}

function describeEnd({ ends, steps = 0 }: LifeCommand): string {
  switch (ends) {
    case 'abort':
      return `, and is aborted after ${steps} steps`
    case 'beside':
      return ` to the head; after ${steps} steps the next goes on beside it`
    case 'beside, idle':
      return `; after ${steps} steps the next goes on beside it`
    default:
      return ' to the head'
  }
}

function ordinal(index: number): string {
  return ['1st', '2nd', '3rd'][index] ?? `${index + 1}th`
}

function short(text: string): string {
  return text.length > 160 ? `${text.slice(0, 140)}… (${text.length} characters)` : text
}
