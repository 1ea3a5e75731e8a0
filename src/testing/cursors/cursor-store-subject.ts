import type { CursorStore } from '../../core/cursor.ts'
import type { Subject } from '../conformance/property.ts'

/**
 * A fresh, empty cursor store, and the faults that can be staged with it. The faults that are there *are* what is tested: what is
 * left out is listed as untested.
 *
 * @example const create = (): CursorStoreSubject => ({ cursors: myCursors(new Client(url), { table: fresh() }) })
 */
export interface CursorStoreSubject extends Subject {
  readonly cursors: CursorStore
  /** A second client of the same data, as another process would make it. */
  another?(): Promise<CursorStore> | CursorStore
  /** The server is killed, and started again; resolves once it answers. What was set is still there. */
  restart?(): Promise<void>
  /** The server, or the way to it, stands still until what is returned is called. */
  freeze?(): Promise<() => Promise<void> | void>
  /** Every connection to the server is cut; new ones can be made. */
  cut?(): Promise<void>
}
