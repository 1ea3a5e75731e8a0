import type { Sink, Source } from 'reflex-bridge'

/** A row of the event table, as the bare select gives it. */
export interface Row {
  readonly id: string
  readonly foreign_id: string
  readonly type: number
  readonly timestamp: string
  readonly metadata: Buffer | null
}

/** A broker that the bridge is measured into: one file each in `destinations/`, listed in `destinations.ts`. */
export interface Destination {
  readonly server: 'redis' | 'nats' | 'kafka'
  /** As it stands in the report. */
  readonly title: string
  /** What the bare loop publishes with, at the guarantee that the sink gives: nothing twice after a crash. */
  readonly referenceName: string
  open(url: string): Promise<OpenDestination>
}

/** A broker that is connected to, as far as the bare client needs it. */
export interface OpenDestination extends AsyncDisposable {
  /** Makes a log that is empty, where the sink expects one. */
  create?(log: string): Promise<void>
  /** Ours, in this process. */
  sink(log: string): Sink
  /** Ours: reads what was appended. */
  source(log: string): Source
  /** The sink of a route in a configuration. */
  config(log: string): Readonly<Record<string, unknown>>
  /** The bare client: what is called with each page in turn, and resolves once the broker has confirmed it. */
  publisher(log: string): Promise<(page: readonly Row[]) => Promise<void>>
}
