import type { DeadLetters, RouteLetter } from '../../src/bridge/dead-letters.ts'
import { type Event, messageOf, ReflexError } from '../../src/core/index.ts'

/** Dead letters in memory. */
export interface MemoryDeadLetters extends DeadLetters {
  /** All, the resolved ones too. */
  readonly letters: (RouteLetter & { readonly route: string; readonly event: Event; open: boolean })[]
}

/** Makes a store that does what every one must. */
export function memoryDeadLetters(): MemoryDeadLetters {
  const letters: MemoryDeadLetters['letters'] = []
  return {
    letters,
    record: async (route, error, event) => {
      const index = letters.findIndex((each) => each.route === route && each.eventId === event.id)
      const known = letters[index]
      const id = known?.id ?? String(letters.length + 1)
      const attempts = (known?.attempts ?? 0) + 1
      const letter = {
        ...{ id, route, eventId: event.id, event, message: messageOf(error), attempts },
        ...{ createdAt: 0, open: true },
      }
      letters.splice(known === undefined ? letters.length : index, 1, letter)
    },
    list: async ({ consumer, status = 'open', after = '0', limit = 100 }) =>
      letters
        .filter(
          ({ route, open, id }) => route === consumer && open === (status === 'open') && Number(id) > Number(after),
        )
        .slice(0, limit),
    resolve: async (id) => {
      const letter = letters.find((each) => each.id === id)
      if (letter === undefined) throw new ReflexError('DEAD_LETTER_MISSING', id)
      letter.open = false
    },
  }
}
