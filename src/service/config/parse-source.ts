import { disposeStack } from '../../core/dispose-stack.ts'
import type { Source } from '../../core/stream.ts'
import { type Checked, isMapping } from './check-keys.ts'
import { type Endpoint, hearsNotifier, type ParseEndpointOptions, parseEndpoint } from './parse-endpoint.ts'

/**
 * Reads a source as `parseEndpoint` does, and `notifier: { url, … }` in it, which tells the source that there is something new: of Redis
 * with a `channel`, or of NATS with a `subject`. Of a source that hears none it is an unknown key.
 */
export function parseSource(value: unknown, { path, folder }: ParseEndpointOptions): Checked<Endpoint<Source>> {
  if (!isMapping(value) || value['notifier'] === undefined || !hearsNotifier(value['url']))
    return parseEndpoint('source', value, { path, folder })
  const { notifier: given, ...rest } = value
  const source = parseEndpoint('source', rest, { path, folder })
  const notifier = parseEndpoint('notifier', given, { path: [...path, 'notifier'], folder })
  if (source.value === undefined || notifier.value === undefined)
    return { problems: [...source.problems, ...notifier.problems] }
  const [{ open }, hints] = [source.value, notifier.value]
  return {
    value: {
      ...source.value,
      open: async (context) => {
        const opened = disposeStack()
        try {
          const { part } = opened.use(await hints.open(context))
          const source = opened.use(await open({ ...context, notifier: part }))
          return { ...source, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() }
        } catch (error) {
          await opened[Symbol.asyncDispose]()
          throw error
        }
      },
    },
    problems: [],
  }
}
