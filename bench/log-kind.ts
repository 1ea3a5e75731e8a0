import type { Sink, Source } from 'reflex-bridge'

/** A server of logs, as it is read and written at length, or by many: one file each in `logs/`, listed in `logs.ts`. */
export interface LogKind {
  readonly server: 'kafka' | 'nats' | 'redis' | 'mysql'
  /** As it stands in the report. */
  readonly title: string
  /** What many logs are. */
  readonly plural: string
  /** Whether it can be written to by a sink. */
  readonly hasSink: boolean
  /** What a stream is opened beside. */
  readonly bareName: string
  open(url: string, via?: { readonly host: string; readonly port: number }): Promise<OpenLogs>
}

/** Logs of one server that is connected to. Several logs have one name and a number from 0 on. */
export interface OpenLogs extends AsyncDisposable {
  /** Makes `count` empty logs; 1 by default. */
  create(name: string, count?: number): Promise<void>
  /** Removes them with what they hold. */
  remove(name: string, count?: number): Promise<void>
  /** Ours; goes by `via`. */
  source(name: string, i?: number): Source
  /** Ours, into the first; undefined where there is none. */
  sink?(name: string): Sink
  /** Writes and commits one event. */
  write(name: string, i?: number): Promise<void>
  /** Connects with the bare client by `via`, reads the first event, and closes. */
  bareRead(name: string): Promise<void>
}
