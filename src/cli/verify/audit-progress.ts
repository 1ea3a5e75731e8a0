/** How far an audit has come. */
export interface AuditProgress extends Disposable {
  show(read: { readonly source: number; readonly destination: number; readonly of?: number }): void
}

const DRAW_EVERY_MS = 200
/** Elsewhere than on a terminal. */
const LINE_EVERY_MS = 5000
const ERASE_LINE = '\r\x1b[2K'

/** A live line on a terminal, which goes with the audit; elsewhere a line now and then. */
export function auditProgress(to: NodeJS.WriteStream, route: string): AuditProgress {
  const terminal = to.isTTY && process.env['TERM'] !== 'dumb'
  let shownAt = performance.now()
  return {
    show: ({ source, destination, of }) => {
      const now = performance.now()
      if (now - shownAt < (terminal ? DRAW_EVERY_MS : LINE_EVERY_MS)) return
      shownAt = now
      const share = of === undefined || of < source ? '' : ` of about ${of.toLocaleString('en')}`
      const line = `${route}: ${source.toLocaleString('en')}${share} events read, ${destination.toLocaleString('en')} entries of the destination`
      to.write(terminal ? `${ERASE_LINE}${line.slice(0, (to.columns || 80) - 1)}` : `${line}\n`)
    },
    [Symbol.dispose]: () => {
      if (terminal) to.write(ERASE_LINE)
    },
  }
}
