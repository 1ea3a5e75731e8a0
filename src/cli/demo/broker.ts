import type { DisposeStack } from '../../core/dispose-stack.ts'
import type { Server, ServerName } from '../../testing/servers/index.ts'
import type { Target } from './stage.ts'

/** A broker that the demo can play on: one file each in `brokers/`, listed in `brokers.ts`. */
export interface Broker {
  /** The target's name in the report. */
  readonly name: string
  readonly server: Exclude<ServerName, 'mysql'>
  /** The environment variable that gives a running one. */
  readonly variable: string
  /** As the title calls it, without the version. */
  readonly title: string
  /**
   * Makes the log `run`, which `stack` removes again, and resolves with what writes and reads it. Connections are made when
   * they are needed: the broker may be killed in between.
   */
  open(server: Server, o: { readonly run: string; readonly stack: DisposeStack }): Promise<BrokerLog>
}

/** How a broker's log is written and read. */
export type BrokerLog = Pick<Target, 'sink' | 'source' | 'entries'>
