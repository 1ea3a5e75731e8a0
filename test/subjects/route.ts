import type { BridgeSubject } from '../../src/testing/bridge/bridge-subject.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'

/** What a route is made of. */
export interface RouteParts {
  readonly source: () => Promise<SourceSubject>
  readonly sink: () => Promise<SinkSubject>
  readonly checkpoints: () => Promise<CursorStoreSubject>
}

/** A whole route, of a log, a destination and a store of checkpoints, each a subject of its own. */
export async function routeOf(parts: RouteParts): Promise<BridgeSubject> {
  const [source, sink, store] = await Promise.all([parts.source(), parts.sink(), parts.checkpoints()])
  const { trim } = source
  const { loseTail, losesWhileOpen, wipe, refuse, restart, freeze, cut, delivery } = sink
  return {
    source: source.source,
    append: (events) => source.append(events),
    sink: () => sink.sink(),
    read: () => sink.read(),
    checkpoints: store.cursors,
    ...(delivery && { delivery }),
    ...(trim && { trim }),
    ...(loseTail && { loseTail }),
    ...(losesWhileOpen && { losesWhileOpen }),
    ...(wipe && { wipe }),
    ...(refuse && { refuse }),
    ...(restart && { restart }),
    ...(freeze && { freeze }),
    ...(cut && { cut }),
    [Symbol.asyncDispose]: async () => {
      for (const each of [source, sink, store]) await each[Symbol.asyncDispose]?.()
    },
  }
}
