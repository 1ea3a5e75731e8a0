import fc from 'fast-check'
import type { Suite } from '../conformance/property.ts'
import { awkwardNames, type CursorStoreCommand, cursorStoreCommands } from './cursor-store-command.ts'
import type { CursorStoreSubject } from './cursor-store-subject.ts'
import { playCursorStore } from './play-cursor-store.ts'

const { get, set, setOver, setSame, setAwkward, setAwkwardOver, reset, resetAwkward } = cursorStoreCommands
const { list, race, getAborted, restart, freeze, cut } = cursorStoreCommands

/** Schedules of these commands; the first one comes most often. */
function some(
  often: fc.Arbitrary<CursorStoreCommand>,
  ...others: readonly fc.Arbitrary<CursorStoreCommand>[]
): fc.Arbitrary<readonly CursorStoreCommand[]> {
  const command = fc.oneof({ weight: 2, arbitrary: often }, ...others)
  return fc.array(command, { minLength: 1, maxLength: 10 })
}

/** Schedules in which this happens once, since it takes its time, after something was set. */
function once(what: fc.Arbitrary<CursorStoreCommand>): fc.Arbitrary<readonly CursorStoreCommand[]> {
  const before = fc.array(fc.oneof(set, reset), { minLength: 1, maxLength: 4 })
  return fc.tuple(before, what, fc.array(set, { maxLength: 2 })).map(([first, one, last]) => [...first, one, ...last])
}

/** A cursor that is set, reset by an operator, and set by whoever does not know of that yet. */
const behindReset: fc.Arbitrary<readonly CursorStoreCommand[]> = fc
  .tuple(set, reset, setOver, setOver)
  .map((commands) => commands.map((command) => ({ ...command, name: 'p' })))

/** What every cursor store is held against: compare-and-set, exactly, for all clients. */
export const cursorStoreSuite: Suite<CursorStoreSubject, CursorStoreCommand> = {
  play: playCursorStore,
  properties: [
    {
      id: 'C1',
      grade: 'required',
      title: 'A consumer that is not known is at "".',
      why: 'A consumer that starts for the first time would begin somewhere in the middle, or not at all.',
      schedules: some(get, set),
    },
    {
      id: 'C2',
      grade: 'required',
      title: 'What was set is there, for every client.',
      why: 'A runner that starts on another machine would handle events again, or miss them.',
      schedules: some(set, get),
    },
    {
      id: 'C3',
      grade: 'required',
      title: 'Consumers are kept apart.',
      why: 'One consumer would skip what only another one has handled.',
      schedules: some(set, setOver, reset),
    },
    {
      id: 'C4',
      grade: 'required',
      title:
        'A set over anything but what it expects is a CURSOR_CONFLICT that tells what is there, and changes nothing.',
      why: 'Two runners of one name would move the cursor over events that neither has handled.',
      schedules: some(setOver, set, get),
    },
    {
      id: 'C5',
      grade: 'required',
      title: 'A set of what is there already succeeds, whatever it expects.',
      why: 'A save whose reply was lost, and that is tried again, would stop a runner that is right.',
      schedules: some(setSame, set, reset),
    },
    {
      id: 'C6',
      grade: 'required',
      title: 'A reset overwrites, and conflicts tell of it until the next set.',
      why: 'A runner would take an operator for a second runner and give up, or a second runner for an operator and go on.',
      schedules: fc.oneof(some(reset, setOver, setSame, race), behindReset),
    },
    {
      id: 'C7',
      grade: 'required',
      title: 'The list has every cursor that was set or reset, and nothing else.',
      why: 'An operator would not see a consumer, and a purge would delete what it has not read.',
      option: 'list',
      schedules: some(list, set, reset, setOver),
    },
    {
      id: 'C8',
      grade: 'required',
      title: 'Of sets at once that expect the same, exactly one wins, and the others are told what it set.',
      why: 'Two runners that start together would both believe that they are alone.',
      schedules: some(race, set, reset),
    },
    {
      id: 'C9',
      grade: 'required',
      title: 'Names are told apart to the last character.',
      why: 'Two consumers whose names look alike would share a cursor, and each lose what the other one has handled.',
      schedules: awkwardNames,
    },
    {
      id: 'C10',
      grade: 'required',
      title: 'Cursors are kept to the last character, also long ones.',
      why: 'A cursor that was cut or changed is another position, or none.',
      schedules: some(setAwkward, setAwkwardOver, resetAwkward, list),
    },
    {
      id: 'C11',
      grade: 'required',
      title: "A get whose signal has aborted rejects with the signal's reason.",
      why: 'A runner that is to stop would wait for a server that does not answer.',
      schedules: some(getAborted, set),
    },
    {
      id: 'C12',
      grade: 'capability',
      title: 'What was set is there after the server was killed.',
      why: 'Every consumer would handle everything again, or what has been deleted since would be missing.',
      needs: ['restart'],
      schedules: once(restart),
    },
    {
      id: 'C13',
      grade: 'capability',
      title: 'Where the server does not answer, a call rejects in time, and later ones work again.',
      why: 'A runner would hang where it should fail, and nobody would start it again.',
      needs: ['freeze'],
      schedules: once(freeze),
    },
    {
      id: 'C14',
      grade: 'capability',
      title: 'After its connection was cut, the store works again.',
      why: 'Each restart of a server would need one of all its clients.',
      needs: ['cut'],
      schedules: once(cut),
    },
  ],
}
