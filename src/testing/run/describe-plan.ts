import type { LifePlan, Operation, RunCommand } from './run-command.ts'

const operations: Readonly<Record<Operation, string>> = {
  get: 'read of the cursor',
  open: 'opening of the stream',
  read: 'read of the stream',
  set: 'save',
  close: 'closing',
  start: 'start',
  handle: 'handled event',
  filter: 'filtered event',
  stop: 'stop',
  background: 'event that settles',
}

/** A life, in words. */
export function describePlan(plan: LifePlan): string {
  const {
    endless,
    fromHead,
    delayMs,
    types,
    filter,
    handling,
    handlerMs,
    recover,
    batch = 3,
    fault,
    meanwhile,
    hooks,
    wrong,
  } = plan
  const words = [
    endless ? 'without end' : 'to the head',
    fromHead ? 'from the head' : '',
    `in batches of ${batch}`,
    delayMs === undefined ? '' : `with delayMs ${delayMs}`,
    types === undefined ? '' : `of types ${types.join(' and ')}`,
    filter ? 'of even positions' : '',
    handling === undefined ? '' : handling === 'background' ? 'in the background' : 'with an asynchronous handler',
    handlerMs === undefined ? '' : `of ${handlerMs} ms an event`,
    recover === undefined ? '' : `with a recover that ${recover === 'throws' ? 'throws' : 'swallows the error'}`,
    hooks ? 'with start and stop' : '',
    wrong === undefined ? '' : `with a wrong ${wrong}`,
    fault === undefined ? '' : `${describeFault(fault)}`,
    meanwhile === undefined ? '' : `meanwhile, at operation ${meanwhile.at}: ${JSON.stringify(meanwhile.what)}`,
  ]
  return words.filter((each) => each !== '').join(', ')
}

function describeFault({ on, nth, how, after }: NonNullable<LifePlan['fault']>): string {
  const which = `its ${operations[on]} number ${nth + 1}`
  switch (how) {
    case 'refused':
      return `${which} fails`
    case 'lost reply':
      return `${which} has its effect, but fails`
    case 'late':
      return `${which} fails, and has its effect ${after ?? 0} operations later`
    case 'abort before':
      return `aborted before ${which}`
    case 'abort after':
      return `aborted after ${which}`
    case 'abort, refused':
      return `aborted before ${which}, which then fails`
    case 'abort, hangs':
      return `aborted before ${which}, which is never answered`
    case 'refused, then abort':
      return `${which} fails, and then it is aborted`
    case 'crash before':
      return `which crashes before ${which}`
    case 'crash after':
      return `which crashes after ${which}`
    case 'crash, late':
      return `which crashes while ${which} is on its way, to have its effect ${after ?? 0} operations later`
    case 'ends':
      return `the stream ends at ${which}`
  }
}

/** Who goes on where several can. */
export function describeOrder(
  command: Extract<RunCommand, { readonly do: 'run' | 'run both' | 'supervise run' }>,
): string {
  return command.order === undefined || command.order.length === 0 ? '' : `; in the order ${command.order.join(' ')}`
}
