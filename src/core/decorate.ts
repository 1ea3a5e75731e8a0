import type { Mark, Sink, SinkWriter } from './sink.ts'
import type { Source, StreamFunc } from './stream.ts'

/** The same log, read through `stream`. Every other member is called as a method of `source`, which may be a class's. */
export function decorateSource(source: Source, stream: StreamFunc): Source {
  const decorated: Source = { name: source.name, stream }
  for (const member of ['head', 'backlog', 'at', 'blocked', 'compare'] as const) {
    if (source[member] !== undefined) Object.assign(decorated, { [member]: source[member].bind(source) })
  }
  return decorated
}

/** What is done in place of a member of a sink, or of its writer. */
export interface SinkDecoration {
  /** Default: `sink.open`. */
  readonly open?: Sink['open']
  append(writer: SinkWriter, ...about: Parameters<SinkWriter['append']>): Promise<Mark>
}

/** The same destination, appended to through `append`. Every other member is called as a method of its own, which may be a class's. */
export function decorateSink(sink: Sink, { open = (options) => sink.open(options), append }: SinkDecoration): Sink {
  return {
    name: sink.name,
    ...(sink.audit && { audit: sink.audit.bind(sink) }),
    open: async (options) => {
      const writer = await open(options)
      return {
        resumeFrom: writer.resumeFrom,
        ...(writer.repair === undefined ? {} : { repair: writer.repair }),
        append: (...about) => append(writer, ...about),
        [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
      }
    },
  }
}
